"""An encoded value: a small head, and the large buffers that it refers to, kept apart so that nobody copies them to parse it."""

from __future__ import annotations

import msgspec

from motet.wire.segments import SharedBuffer

Buffer = bytes | bytearray | memoryview
Part = Buffer | SharedBuffer


class Payload(msgspec.Struct, frozen=True, gc=False):
    """An encoded value.

    Attributes:
        head: msgpack, as the codec writes it, or a raw HTTP body.
        buffers: raw contents of arrays, tensors and long byte strings, in the order in which the head refers to them; large ones
            only by their place in shared memory, if this process has such.
    """

    head: Buffer
    buffers: tuple[Part, ...] = ()

    @property
    def size(self) -> int:
        """Bytes in all."""
        return len(self.head) + sum(len(buffer) for buffer in self.buffers)

    @property
    def shared(self) -> bool:
        """Whether any of it is in shared memory."""
        return any(type(buffer) is SharedBuffer for buffer in self.buffers)

    def whole(self) -> Buffer:
        """Return all of it in one piece."""
        if not self.buffers:
            return self.head
        return b"".join((self.head, *(part.view() if isinstance(part, SharedBuffer) else part for part in self.buffers)))


NOTHING = Payload(b"")
