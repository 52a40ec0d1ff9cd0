"""The queue of a replica and its batches: order, limits, cancelling, deadlines, closing."""

import asyncio
import math
import time
from collections import deque

import pytest

from motet.definitions import Batching
from motet.errors import DeadlineExceeded, Overloaded, ShuttingDown, Unavailable
from motet.runtime.batching import BatchLane
from motet.runtime.exchange import Format, Request
from motet.runtime.mailbox import Mailbox, SlotLane
from motet.wire.payload import Payload

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


def request(name="r", deadline=math.inf):
    return Request(
        endpoint=name, body=Payload(b""), format=Format.CODEC, deadline=deadline, request_id=name, trace=None, reply=None
    )  # the reply is the replica's business


class Posted:
    """An event loop that runs at once what a thread posts to it."""

    def call_soon_threadsafe(self, callback, *args):
        callback(*args)


class Slots:
    """A mailbox with one lane, and what became of its requests."""

    def __init__(self, *, limit=10, capacity=1):
        self.refused = []
        self.started = []
        self.mailbox = Mailbox(limit=limit, refuse=lambda r, e: self.refused.append((r.request_id, type(e))), owner="Node")
        self.lane = SlotLane(self.mailbox, capacity, lambda r: self.started.append(r.request_id), Posted())
        self.mailbox.lanes.append(self.lane)

    def put(self, *names, deadline=math.inf):
        requests = [request(name, deadline) for name in names]
        for r in requests:
            self.mailbox.put(r, self.lane)
        return requests


def test_free_slots_are_taken_at_once():
    """Requests start while there are slots and wait after that."""
    slots = Slots(capacity=2)
    slots.put("a", "b", "c")
    assert slots.started == ["a", "b"]
    assert slots.mailbox.waiting == 1


def test_order_of_arrival():
    """A slot that is given back goes to the request that has waited longest."""
    slots = Slots()
    slots.put("a", "b", "c")
    slots.lane.release()
    slots.lane.release()
    assert slots.started == ["a", "b", "c"]
    assert slots.mailbox.waiting == 0


def test_limit():
    """What comes beyond the limit is Overloaded; a place that becomes free is used."""
    slots = Slots(limit=1)
    slots.put("a", "b", "c")
    assert slots.refused == [("c", Overloaded)]
    slots.lane.release()
    slots.put("d")
    assert slots.refused == [("c", Overloaded)]
    assert slots.mailbox.waiting == 1


def test_thread_goes_on_with_the_next_request():
    """A thread takes what waits in its slot's turn; what is late is refused, and the slot stays taken."""
    slots = Slots()
    _, late, _ = slots.put("a", "b", "c")
    late.deadline = time.monotonic() - 1
    assert slots.lane.take().request_id == "c"
    assert slots.refused == [("b", DeadlineExceeded)]
    assert slots.lane.take() is None
    assert slots.mailbox.waiting == 0
    slots.put("d")
    assert slots.started == ["a"]
    slots.lane.release()
    assert slots.started == ["a", "d"]


def test_limit_is_shared_by_lanes():
    """The limit counts what waits in all lanes together."""
    slots = Slots(limit=1)
    other = SlotLane(slots.mailbox, 1, lambda r: slots.started.append(r.request_id), Posted())
    slots.mailbox.lanes.append(other)
    slots.put("a", "b")
    for name in ("x", "y"):
        slots.mailbox.put(request(name), other)
    assert slots.started == ["a", "x"]
    assert slots.refused == [("y", Overloaded)]


def test_withdrawn_requests():
    """A withdrawn request never starts and makes room; one that runs can't be withdrawn."""
    slots = Slots(limit=1)
    running, waiting = slots.put("a", "b")
    assert slots.lane.withdraw(running) is False
    assert slots.lane.withdraw(waiting) is True
    assert slots.lane.withdraw(waiting) is False
    slots.put("c")
    slots.lane.release()
    assert slots.started == ["a", "c"]
    assert slots.refused == []


def test_passed_deadlines():
    """A request whose deadline passed is refused, on arrival and when its turn comes; the slot goes to the next."""
    slots = Slots()
    slots.put("a")
    slots.put("late", deadline=time.monotonic() - 1)
    assert slots.refused == [("late", DeadlineExceeded)]
    (waiting,) = slots.put("expires")
    slots.put("b")
    waiting.deadline = time.monotonic() - 1
    slots.lane.release()
    assert slots.started == ["a", "b"]
    assert slots.refused[1:] == [("expires", DeadlineExceeded)]
    assert slots.mailbox.waiting == 0


def test_closing():
    """Closing tells those that wait ShuttingDown, late ones something else, and leaves what runs alone."""
    slots = Slots()
    slots.put("a", "b", "c")
    slots.mailbox.close("is stopping")
    slots.put("d")
    assert slots.refused == [("b", ShuttingDown), ("c", ShuttingDown), ("d", Unavailable)]
    slots.lane.release()
    assert slots.started == ["a"]
    assert slots.mailbox.waiting == 0


class Stolen(deque):
    """What waits, of which a thread takes the last one when the loop has just seen that it is there."""

    def __bool__(self):
        if len(self) == 1:
            self.popleft()
            return True
        return len(self) > 0


def test_closing_while_a_thread_takes_the_last_one():
    """What a thread takes meanwhile isn't refused, and all others are."""
    slots = Slots()
    slots.put("a", "b", "c")
    slots.lane._waiting = Stolen(slots.lane._waiting)
    slots.mailbox.close("is stopping")
    assert ("b", ShuttingDown) in slots.refused


class Batches(Slots):
    """A mailbox with a lane of batches; `max_wait` is so long that no test sees it pass."""

    def __init__(self, *, limit=100, capacity=1, max_size=4, max_wait=1000.0):
        super().__init__(limit=limit)
        self.lane = BatchLane(
            self.mailbox,
            Batching(max_size=max_size, max_wait=max_wait),
            capacity,
            self.start,
            asyncio.get_running_loop(),
            clock=lambda: self.now,
        )
        self.now = 0.0
        self.mailbox.lanes = [self.lane]
        self.begun = asyncio.Event()

    def start(self, batch):
        self.started.append([r.request_id for r in batch])
        self.begun.set()


async def turn():
    """Let what was scheduled for the loop's next turns run."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_lone_item_leaves_at_once():
    """An item that comes alone doesn't wait for others, however long `max_wait` is."""
    batches = Batches()
    batches.put("a")
    await turn()
    assert batches.started == [["a"]]


async def test_items_of_one_turn_leave_together():
    """Items that come in one turn of the loop are one batch."""
    batches = Batches()
    batches.put("a", "b", "c")
    await turn()
    assert batches.started == [["a", "b", "c"]]
    assert batches.mailbox.waiting == 0


async def test_batches_are_limited():
    """A batch has `max_size` items at most; the rest waits for the slot."""
    batches = Batches(max_size=2)
    batches.put("a", "b", "c", "d", "e")
    await turn()
    assert batches.started == [["a", "b"]]
    batches.lane.release(2)
    await turn()
    assert batches.started == [["a", "b"], ["c", "d"]]
    batches.lane.release(2)
    await turn()
    assert batches.started[2:] in ([], [["e"]])  # it may wait for the company that the last batch had


async def test_lone_item_after_a_crowd_leaves_within_max_wait():
    """After full batches a lone item waits for company, `max_wait` at most."""
    batches = Batches(max_size=2, max_wait=0.001)
    batches.put("a", "b")
    await turn()
    batches.lane.release(2)
    batches.begun.clear()
    batches.put("c")
    await asyncio.wait_for(batches.begun.wait(), timeout=30)
    assert batches.started == [["a", "b"], ["c"]]


async def test_lone_item_long_after_a_crowd_leaves_at_once():
    """Once the crowd has stayed away for `max_wait`, nobody is waited for any more."""
    batches = Batches(max_size=2, max_wait=10.0)
    batches.put("a", "b")
    await turn()
    batches.lane.release(2)
    batches.now = 9.9
    batches.put("c")
    await turn()
    assert batches.started == [["a", "b"]]
    batches.now = 10.0
    batches.put("d")
    await turn()
    batches.lane.release(2)
    batches.now = 20.0
    batches.put("e")
    await turn()
    assert batches.started == [["a", "b"], ["c", "d"], ["e"]]


async def test_batch_that_is_ready_follows_in_the_same_slot():
    """The thread of a batch takes the next one; what isn't ready is left to the loop."""
    batches = Batches(max_size=2)
    batches.put("a", "b")
    await turn()
    batches.put("c", "d", "e")
    following = batches.lane.take(2)
    assert [r.request_id for r in following] == ["c", "d"]
    assert batches.lane.take(2) is None
    await turn()
    assert batches.lane.running == 1
    assert batches.mailbox.waiting == 1
    assert batches.started == [["a", "b"]]


async def test_batch_that_follows_has_no_late_items():
    """Items whose deadline passed are refused, not run; a batch of none doesn't follow."""
    batches = Batches(max_size=2)
    batches.put("a", "b")
    await turn()
    waiting = batches.put("c", "d", "e", "f")
    for late in (waiting[0], *waiting[2:]):
        late.deadline = time.monotonic() - 1
    assert [r.request_id for r in batches.lane.take(2)] == ["d"]
    assert batches.lane.take(2) is None
    await turn()
    assert batches.refused == [(name, DeadlineExceeded) for name in "cef"]
    assert batches.mailbox.waiting == 0


async def test_no_wait_at_all():
    """With `max_wait=0` whatever is there leaves."""
    batches = Batches(max_size=8, max_wait=0)
    batches.put("a", "b", "c")
    await turn()
    batches.lane.release(3)
    batches.put("d")
    await turn()
    assert batches.started == [["a", "b", "c"], ["d"]]


async def test_queue_limit_counts_what_cannot_leave():
    """Items that a free slot takes don't count as waiting; those behind a running batch do."""
    batches = Batches(limit=1, max_size=2)
    batches.put("a", "b")
    await turn()
    batches.put("c", "d")
    assert batches.refused == [("d", Overloaded)]
    assert batches.mailbox.waiting == 1
    batches.lane.release(2)
    batches.put("e")
    await turn()
    assert batches.started == [["a", "b"], ["c", "e"]]
    assert batches.mailbox.waiting == 0


async def test_withdrawn_items():
    """A withdrawn item is in no batch, whether it waits for a slot or for company; a batch of none isn't started."""
    batches = Batches()
    (alone,) = batches.put("a")
    assert batches.lane.withdraw(alone) is True
    await turn()
    assert batches.started == []
    assert batches.mailbox.waiting == 0
    batches.put("b")
    await turn()
    _, dropped, _ = batches.put("c", "d", "e")
    assert batches.lane.withdraw(dropped) is True
    batches.lane.release(1)
    batches.put("f", "g")
    await turn()
    assert batches.started[0] == ["b"]
    assert "d" not in [name for batch in batches.started for name in batch]
    assert batches.mailbox.waiting == 0


async def test_expired_items_leave_no_empty_batch():
    """Items whose deadline passed are refused; if nothing else waits no batch starts and the slot stays free."""
    batches = Batches()
    batches.put("a")
    await turn()
    (waiting,) = batches.put("b")
    waiting.deadline = time.monotonic() - 1
    batches.lane.release(1)
    await turn()
    assert batches.started == [["a"]]
    assert batches.refused == [("b", DeadlineExceeded)]
    batches.put("c")
    await turn()
    assert batches.started == [["a"], ["c"]]


async def test_closing_batches():
    """Closing refuses every item that waits, for a slot or for company, and leaves no count behind."""
    batches = Batches()
    batches.put("a")
    await turn()
    batches.put("b", "c")
    batches.mailbox.close("is stopping")
    assert batches.refused == [("b", ShuttingDown), ("c", ShuttingDown)]
    assert batches.mailbox.waiting == 0
    idle = Batches()
    idle.put("x")
    idle.mailbox.close("is stopping")
    await turn()
    assert idle.started == []
    assert idle.refused == [("x", ShuttingDown)]
    assert idle.mailbox.waiting == 0
