"""Who keeps a replica's event loop from running is named, with place and time, and not over and over."""

import asyncio
import contextlib
import inspect
import logging
import queue
import threading
import time
from pathlib import Path

import pytest

import motet
from motet.context import Context
from motet.options import Config
from motet.runtime.exchange import Format, Request
from motet.runtime.replica import Replica, ReplicaSpec
from motet.runtime.watch import LoopWatch
from motet.service import definition_of
from motet.testing import PATIENCE, Gate
from motet.wire import codec


class Stubborn(motet.Service):
    """Keeps the loop from running."""

    def __init__(self, gates: list[Gate], computed: threading.Event) -> None:
        self.gates = gates
        self.computed = computed

    @motet.endpoint
    async def wait_in_loop(self) -> None:
        self.gates.pop(0).wait_sync()

    @motet.endpoint
    async def wait_in_task(self) -> None:
        async def refresh():
            self.gates.pop(0).wait_sync()

        await asyncio.create_task(refresh(), name="refresh")

    @motet.endpoint
    def hold_the_gil(self) -> int:
        power = 1
        while not self.computed.is_set():
            power = 7**1_000_000  # one call of C, which keeps the GIL for longer than the limit of the test
        return power % 10


class Reply:
    """Notes that there is an answer."""

    def __init__(self):
        self.answered = threading.Event()

    def result(self, payload, content_type):
        self.answered.set()


class Watched:
    """A replica in the loop of another thread, with the gates that its calls wait for, and what is logged."""

    def __init__(self, *, limit=0.02):
        self.now = 0.0
        self.limit = limit
        self.gates = [Gate(str(number)) for number in range(3)]
        self.computed = threading.Event()
        self.logged = queue.SimpleQueue()
        self.started = threading.Event()

    async def run(self):
        definition = definition_of(Stubborn)
        context = Context(app="a", service="s", replica="r", engine="local", data_dir=Path())
        arguments = {"gates": list(self.gates), "computed": self.computed}
        self.replica = Replica(
            ReplicaSpec(definition=definition, arguments=arguments, config=Config(), node="Node", identity="Node#1", context=context)
        )
        await self.replica.start()
        self.watch = LoopWatch(owner="Node#1", busy=lambda: True, limit=self.limit, clock=lambda: self.now)
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        self.started.set()
        await self.stop.wait()
        self.watch.close()
        await self.replica.stop()

    def call(self, endpoint):
        """Call an endpoint; its answer sets an event."""
        reply = Reply()
        request = Request(
            endpoint=endpoint, body=codec.encode([[], {}]), format=Format.CODEC, deadline=float("inf"), request_id="r", reply=reply
        )
        self.loop.call_soon_threadsafe(self.replica.submit, request)
        return reply.answered

    def line(self):
        """Return the next line of the log."""
        return self.logged.get(timeout=PATIENCE)


@contextlib.contextmanager
def watched(**options):
    """Run a replica with a watch."""
    it = Watched(**options)
    handler = logging.Handler()
    handler.emit = lambda record: it.logged.put(record.getMessage())
    logger = logging.getLogger("motet.replica")
    logger.addHandler(handler)
    thread = threading.Thread(target=lambda: asyncio.run(it.run()))
    thread.start()
    try:
        assert it.started.wait(PATIENCE)
        yield it
    finally:
        for gate in it.gates:
            gate.open()
        it.computed.set()
        it.loop.call_soon_threadsafe(it.stop.set)
        thread.join(PATIENCE)
        logger.removeHandler(handler)
        for gate in it.gates:
            gate.close()


@pytest.mark.parametrize(("endpoint", "name"), [("wait_in_loop", "Node.wait_in_loop"), ("wait_in_task", "the task refresh")])
def test_blocked_loop(endpoint, name, monkeypatch):
    """Blocking code in the loop is told of with endpoint or task, replica, time and line, while it lasts and after it."""
    monkeypatch.setattr("motet.runtime.watch.LONG", 0.05)
    with watched() as it:
        answered = it.call(endpoint)
        lines = [it.line()]
        it.gates[0].open()
        lines.append(it.line())
        assert answered.wait(PATIENCE)
    body, first = inspect.getsourcelines(getattr(Stubborn, endpoint))
    place = next(n for n, line in enumerate(body, first) if "wait_sync" in line)
    for line, ms in zip(lines, ("ms so far at", "ms at"), strict=True):
        assert f"{name} blocked the event loop of Node#1 for" in line
        assert f"{ms} {__file__}:{place};" in line
        assert "plain `def`" in line


def test_held_gil():
    """Code of a thread that keeps the GIL is told of in the same way."""
    with watched(limit=0.01) as it:
        it.call("hold_the_gil")
        line = it.line()
        it.computed.set()
    assert "Node.hold_the_gil held the GIL in Node#1 for" in line
    assert "plain `def`" not in line


def test_warnings_are_few():
    """An endpoint that blocks again and again is told of once in a while, with how often it did."""
    with watched() as it:
        it.call("wait_in_loop")
        until(lambda: it.watch.noticed == 1)
        it.gates[0].open()
        assert "since the last warning" not in it.line()
        it.call("wait_in_loop")
        until(lambda: it.watch.noticed == 2)
        it.gates[1].open()
        it.now += 3600
        it.call("wait_in_loop")
        until(lambda: it.watch.noticed == 3)
        it.gates[2].open()
        assert "2 times since the last warning" in it.line()


def until(condition):
    """Return once the watch's thread has come to it."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)
