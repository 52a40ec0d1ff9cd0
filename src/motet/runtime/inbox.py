"""The pieces that a caller sends after its request: bounded by credit, taken one after the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

TUNNEL_WINDOW = 262144  # bytes of pieces that may be on their way, in each direction of a tunnel


class Inbox:
    """Holds what has arrived and isn't taken; taking a piece lets the caller send as much again.

    Args:
        grant: tells the caller how many bytes were taken.
    """

    __slots__ = ("_arrived", "_grant", "_pieces", "ended", "on_end")

    def __init__(self, grant: Callable[[int], object]) -> None:
        self._grant = grant
        self._pieces: deque[bytes] = deque()
        self._arrived = asyncio.Event()  # several tasks may read: which gets a piece is their affair
        self.ended = False
        self.on_end: Callable[[], object] | None = None  # the reader's: the caller will send nothing more

    def put(self, piece: bytes) -> None:
        """Keep a piece."""
        self._pieces.append(piece)
        self._arrived.set()

    def end(self) -> None:
        """Note that nothing more will come."""
        if not self.ended:
            self.ended = True
            self._arrived.set()
            if self.on_end is not None:
                self.on_end()

    @property
    def last(self) -> bool:
        """Whether all pieces have come and are taken."""
        return self.ended and not self._pieces

    async def get(self) -> bytes | None:
        """Return the next piece, or None after the last."""
        while not self._pieces:
            if self.ended:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        piece = self._pieces.popleft()
        self._grant(len(piece))
        return piece
