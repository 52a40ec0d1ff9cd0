"""The caller's end of a link: an answer that can't be taken is an error of its call alone."""

import asyncio
import math
import socket

from motet.engines.local.link import SocketLink
from motet.engines.local.sharing import open_side, take_side
from motet.runtime.exchange import Exchange, Format
from motet.runtime.router import Router
from motet.testing import PATIENCE
from motet.wire.frames import AnswerMeta, FrameKind, Place, encode_meta, pack
from motet.wire.payload import Payload


class Asked(Exchange, kw_only=True):
    """Keeps its answer."""

    answered: asyncio.Future

    def on_result(self, payload, content_type):
        self.answered.set_result(payload)

    def on_failure(self, failure):
        self.answered.set_result(failure)


def test_answer_whose_memory_never_came():
    """A call whose answer is in a segment that its caller couldn't get fails; the link and its other calls go on."""

    async def go():
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        side = open_side(there)
        router = Router(loop, owner="here")
        link = SocketLink("Node#1", router, lambda: None, take_side(here))
        await loop.create_connection(lambda: link, sock=here)
        router.set_links("node", [link])
        lost, fine = (
            Asked(
                target="node",
                endpoint="e",
                body=Payload(b""),
                format=Format.CODEC,
                deadline=math.inf,
                request_id="r",
                answered=loop.create_future(),
            )
            for _ in range(2)
        )
        router.send(lost)
        router.send(fine)
        meta = encode_meta(AnswerMeta(None, (0, Place(1, 0, 1, 0, 8))))
        there.sendall(pack(FrameKind.RESULT, lost.id, meta) + pack(FrameKind.RESULT, fine.id, b"", Payload(b"good")))
        async with asyncio.timeout(PATIENCE):
            assert (await fine.answered).head == b"good"
            assert "descriptor" in str(await lost.answered)
        assert link.outstanding == 0
        link.close()
        side.close()
        there.close()

    asyncio.run(go())
