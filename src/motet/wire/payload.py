"""An encoded value: a small head, and the large buffers that it refers to, kept apart so that nobody copies them to parse it."""

from __future__ import annotations

from typing import NamedTuple

Buffer = bytes | bytearray | memoryview


class Payload(NamedTuple):
    """An encoded value.

    Attributes:
        head: msgpack, as the codec writes it, or a raw HTTP body.
        buffers: raw contents of arrays, tensors and long byte strings, in the order in which the head refers to them.
    """

    head: Buffer
    buffers: tuple[Buffer, ...] = ()

    @property
    def size(self) -> int:
        """Bytes in all."""
        return len(self.head) + sum(len(buffer) for buffer in self.buffers)
