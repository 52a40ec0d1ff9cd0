"""The replica's end of a link: what is left of a caller that can't be served."""

import asyncio
import socket
from types import SimpleNamespace

from motet.engines.local.listener import Listener


def test_a_connection_that_cannot_be_served(tmp_path, caplog):
    """Neither it nor the side socket that came with it stays open."""

    async def go():
        listener = Listener(SimpleNamespace(spec=SimpleNamespace(identity="Node#1")), str(tmp_path / "socket"))
        side, others = socket.socketpair()
        lost, lost_too = socket.socketpair()
        lost.close()
        await listener._serve(lost, side)
        listener.close()
        others.close()
        lost_too.close()
        assert side.fileno() == -1

    asyncio.run(go())
    assert "Node#1 can't serve a caller" in caplog.text
