"""Slots that threads pass on come back, whatever becomes of the requests that get them."""

import asyncio
import threading
import time
from pathlib import Path

import motet
from motet.context import Context
from motet.options import Config
from motet.runtime.exchange import Format, Request
from motet.runtime.replica import Replica, ReplicaSpec
from motet.runtime.threads import WorkerThreads
from motet.service import definition_of
from motet.testing import PATIENCE
from motet.wire import codec
from motet.wire.payload import Payload
from motet.wire.tunnel import TunnelHead, encode_tunnel


class Service(motet.Service):
    def __init__(self, go: threading.Event) -> None:
        self.go = go

    @motet.endpoint
    def held(self) -> None:
        self.go.wait(PATIENCE)

    @motet.endpoint
    def greet(self, request: motet.Request, name: str) -> str:
        return name


class Reply:
    """Notes that there is an answer."""

    def __init__(self):
        self.answered = asyncio.Event()

    def result(self, payload, content_type):
        self.answered.set()

    def credit(self, size):
        pass


def call(name):
    body = codec.encode([[], {}])
    return Request(endpoint=name, body=body, format=Format.CODEC, deadline=float("inf"), request_id="r", reply=Reply())


def upload(name):
    """Return a request over a tunnel whose body hasn't come."""
    headers = ((b"content-type", b"application/json"),)
    head = TunnelHead(
        "http",
        "POST",
        b"/greet",
        "/greet",
        b"",
        "",
        headers,
        version="1.1",
        scheme="http",
        client=("c", 1),
        server=("s", 1),
        subprotocols=(),
    )
    body = Payload(encode_tunnel(head))
    request = Request(endpoint=name, body=body, format=Format.TUNNEL, deadline=float("inf"), request_id="r", reply=Reply())
    request.open_tunnel()
    return request


def test_request_that_is_cancelled_while_a_thread_passes_its_slot_on():
    """It never runs, so that its slot is free for the next one."""

    async def go():
        release = threading.Event()
        context = Context(app="a", service="s", replica="r", engine="local", data_dir=Path())
        definition = definition_of(Service)
        spec = ReplicaSpec(
            definition=definition, arguments={"go": release}, config=Config(), node="Node", identity="Node#1", context=context
        )
        replica = Replica(spec)
        await replica.start()
        dropped, last = upload("greet"), call("held")
        replica.submit(call("held"))
        replica.submit(dropped)
        release.set()
        deadline = time.monotonic() + PATIENCE
        while replica._lanes["greet"]._waiting and time.monotonic() < deadline:  # the loop must not run before it is cancelled
            pass
        replica.cancel(dropped)
        replica.submit(last)
        async with asyncio.timeout(PATIENCE):
            await last.reply.answered.wait()
        await replica.stop()

    asyncio.run(go())


def test_no_more_threads(monkeypatch):
    """Where the system has no thread left, those that there are do the work."""
    threads = WorkerThreads(2, name="few")
    first, second = threading.Event(), threading.Event()
    threads.submit(first.set)

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    threads.submit(second.set)
    assert first.wait(PATIENCE)
    assert second.wait(PATIENCE)
    threads.close()
