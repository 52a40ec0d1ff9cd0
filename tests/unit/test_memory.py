"""Shared memory: the pool, and who holds what, also in other processes and when those die."""

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from motet.engines.local.sharing import Sharing, open_side, take_side
from motet.errors import MotetError, Unavailable, UsageError
from motet.testing import PATIENCE
from motet.wire import buffers, memory, segments
from motet.wire.frames import FrameKind, FrameReader, parts_of
from motet.wire.memory import Pool, class_of
from motet.wire.payload import Payload
from motet.wire.segments import PAGE, Segment, SharedBuffer

MB = 2**20

HOLDER = """
import sys
from motet.wire.segments import Segment
key, block_size, blocks, descriptor, block, use = map(int, sys.argv[1:])
lease = Segment(key, block_size, blocks, descriptor).hold(block, use)
print(bytes(memoryview(lease.memory())[:4]).decode(), flush=True)
input()
del lease
print("let go", flush=True)
input()
"""


class Holder:
    """Another process that holds a block."""

    def __init__(self, lease):
        segment = lease.segment
        numbers = (segment.key, segment.block_size, segment.blocks, segment.descriptor, lease.block, lease.use)
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, *map(str, numbers)],
            pass_fds=[segment.descriptor],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.found = self.process.stdout.readline().strip()

    def let_go(self):
        print(file=self.process.stdin, flush=True)
        assert self.process.stdout.readline().strip() == "let go"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def written(pool, text, size=MB):
    """Return a buffer in the pool that begins with a text."""
    return buffers.of_bytes(text.encode() + bytes(size - len(text)), pool)


@given(st.integers(memory.SHARED, 2**40))
def test_size_classes(size):
    """A block is large enough, wastes less than a fifth and a page, and is whole pages."""
    found = class_of(size)
    assert found % PAGE == 0
    assert size <= found < size * 1.25 + PAGE
    assert class_of(found) == found


def test_a_block_is_used_again():
    """Memory that nobody holds is used again, for anything of its size."""
    pool = Pool(64 * MB)
    places = set()
    for size in (MB, MB - 5, MB - 5000):
        buffer = written(pool, "some", size)
        places.add((buffer.lease.segment.key, buffer.lease.block))
        del buffer
    assert len(places) == 1
    assert pool.usage == (MB, MB, 1)


def test_views_hold_a_block():
    """A block isn't used again before the last view of it is gone, whatever became of the buffer."""
    pool = Pool(64 * MB)
    buffer = written(pool, "kept")
    array = np.frombuffer(buffer.view(), "u1")
    part = array.reshape(2, -1)[1, 5:10].view("i1")
    sliced = buffer.view()[3:5][1:]
    del buffer, array
    assert pool.usage.free == 0
    del part
    assert pool.usage.free == 0
    del sliced
    assert pool.usage.free == MB


def test_what_another_process_holds_is_not_used_again():
    """Another process holds a block until it lets go of it, though this one holds it no more."""
    pool = Pool(64 * MB)
    buffer = written(pool, "mine")
    place = (buffer.lease.segment, buffer.lease.block)
    with Holder(buffer.lease) as holder:
        assert holder.found == "mine"
        del buffer
        other = written(pool, "else")
        assert (other.lease.segment, other.lease.block) != place
        del other
        holder.let_go()
        again = [written(pool, "new") for _ in range(2)]
        assert place in [(buffer.lease.segment, buffer.lease.block) for buffer in again]


def test_death_lets_go():
    """A process that is killed holds nothing."""
    pool = Pool(64 * MB)
    buffer = written(pool, "mine")
    with Holder(buffer.lease) as holder:
        holder.process.kill()
        holder.process.wait()
        place = (buffer.lease.segment, buffer.lease.block)
        del buffer
        again = written(pool, "next")
        assert (again.lease.segment, again.lease.block) == place


def test_an_old_place_is_known_as_old():
    """Who hears of a block when it has been used again is told so, and holds nothing."""
    pool = Pool(64 * MB)
    buffer = written(pool, "old")
    segment, block, use = buffer.lease.segment, buffer.lease.block, buffer.lease.use
    del buffer
    again = written(pool, "new")
    elsewhere = Segment(segment.key, segment.block_size, segment.blocks, os.dup(segment.descriptor))
    elsewhere.given_by(object())
    with pytest.raises(Unavailable, match="is gone"):
        elsewhere.hold(block, use)
    assert bytes(SharedBuffer(elsewhere.hold(block, again.lease.use), 0, 3)) == b"new"


def test_an_old_place_of_a_block_that_was_given_back():
    """A pool that hears too late of a block of its own uses it once, not twice."""
    pool = Pool(MB)
    buffer = written(pool, "old")
    segment, block, use = buffer.lease.segment, buffer.lease.block, buffer.lease.use
    del buffer
    assert pool._make_room(MB)
    with pytest.raises(Unavailable, match="is gone"):
        segment.hold(block, use)
    assert pool.usage.free == 0
    assert bytes(written(pool, "new"))[:3] == b"new"
    assert pool.usage.bytes == MB


def test_beyond_the_budget(caplog):
    """Beyond the budget there are no blocks, which is told once, and there are again when some are free."""
    pool = Pool(3 * MB)
    held = [written(pool, "x") for _ in range(3)]
    for _ in range(3):
        assert type(written(pool, "y")) is bytes
    assert caplog.text.count("budget of shared memory") == 1
    assert "MOTET_SHARED_MEMORY" in caplog.text
    held.pop()
    assert pool.usage.free == MB
    pool._searched = 0.0  # a long time ago
    assert type(written(pool, "z")) is SharedBuffer


def test_memory_moves_between_sizes():
    """Free blocks of one size are given back when the budget is needed for another."""
    pool = Pool(4 * MB)
    small = [written(pool, "x", MB // 4) for _ in range(16)]
    segment = small[0].lease.segment
    blocks = os.fstat(segment.descriptor).st_blocks
    del small
    assert type(written(pool, "y", 3 * MB)) is SharedBuffer
    assert pool.usage.bytes <= 4 * MB
    assert os.fstat(segment.descriptor).st_blocks < blocks


def test_idle_memory_is_given_back():
    """After a while without use the system gets all but a small reserve back, though others have it mapped."""
    pool = Pool(2**30)
    held = [written(pool, "x", 10 * MB) for _ in range(10)]
    parts = {buffer.lease.segment for buffer in held}
    kept = held.pop()
    del held
    now = time.monotonic()
    assert pool.trim(now)
    assert pool.usage.bytes == 100 * MB
    assert pool.trim(now + memory.IDLE + 1)
    assert pool.usage.free <= memory.RESERVE
    assert sum(os.fstat(segment.descriptor).st_blocks for segment in parts) * 512 <= memory.RESERVE + 30 * MB
    assert bytes(kept)[:1] == b"x"
    assert bytes(written(pool, "y", 10 * MB))[:1] == b"y"


def test_passed_on_without_a_copy():
    """An array that was received, or built in place and handed over, is passed on where it is; small parts are copied."""
    pool = Pool(64 * MB)
    first = buffers.of_array(np.arange(300_000), pool)
    received = np.frombuffer(first.view(), np.int64)
    second = buffers.of_array(received[10:-10].reshape(2, -1), pool)
    assert second.lease is first.lease
    assert np.array_equal(np.frombuffer(second.view(), np.int64), np.arange(10, 299_990))
    assert buffers.of_array(received[:20_000], pool).lease is not first.lease
    assert buffers.of_array(received[::2], pool).lease is not first.lease
    writeable = received.copy()
    writeable.flags.writeable = False
    assert buffers.of_array(writeable, pool).lease is not first.lease


@pytest.mark.parametrize("text", ["much", "12 parsecs"])
def test_wrong_budget(monkeypatch, text):
    """A budget that can't be read is an error that says what one looks like."""
    monkeypatch.setenv(memory.BUDGET, text)
    with pytest.raises(UsageError, match=memory.BUDGET) as caught:
        memory.budget()
    assert "2GiB" in caught.value.instead


def test_budget(monkeypatch, tmp_path):
    """The environment variable sets the budget; without it that is a quarter of the machine's memory, or of the container's."""
    monkeypatch.setenv(memory.BUDGET, "2 MiB")
    assert memory.budget() == 2 * MB
    monkeypatch.setenv(memory.BUDGET, "0")
    assert memory.budget() == 0
    monkeypatch.delenv(memory.BUDGET)
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "CGROUP_LIMIT", limit)
    unlimited = memory.budget()
    assert unlimited > 2 * MB
    limit.write_text("max\n")
    assert memory.budget() == unlimited
    limit.write_text(f"{8 * MB}\n")
    assert memory.budget() == 2 * MB


class Ends:
    """Two ends of a link in one process, which hand each other payloads."""

    def __init__(self):
        here, there = socket.socketpair()
        self.frames = []
        self.out = Sharing(open_side(here), self.frames.append)
        self.into = Sharing(take_side(there), self.frames.append)
        here.close()
        there.close()

    def send(self, payload):
        prepared = self.out.prepare(payload)
        parts = parts_of(prepared)
        return [buffer if isinstance(part, int) else self.into.find(part) for part, buffer in zip(parts[1:], prepared.buffers, strict=True)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.out.close()
        self.into.close()


def descriptors():
    """Return how many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def forget_segments():
    """Make this process forget its own segments, so that it meets them as those of another."""
    segments._segments.clear()


def test_descriptors_come_before_frames():
    """A segment that is met for the first time is there, and after the link's end it is closed."""

    async def go():
        pool = Pool(64 * MB)
        buffer = written(pool, "over")
        forget_segments()
        before = descriptors()
        with Ends() as ends:
            (found,) = ends.send(Payload(b"", (buffer,)))
            assert bytes(found)[:4] == b"over"
            assert found.lease.segment is not buffer.lease.segment
            (again,) = ends.send(Payload(b"", (buffer,)))
            assert again.lease.segment is found.lease.segment
        assert bytes(again)[:4] == b"over"
        del found, again
        assert descriptors() == before

    asyncio.run(go())


def test_full_side_socket():
    """What the other end can't be told of goes in line, and later what it can be told of is shared again."""

    async def go():
        pool = Pool(2**34)
        with Ends() as ends:
            ends.out._side.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            kept = []
            for size in range(1, 60):
                buffer = buffers.of_array(np.full(size * MB, size, "u1"), pool)
                kept.append(buffer)
                prepared = ends.out.prepare(Payload(b"", (buffer,)))
                if type(prepared.buffers[0]) is not SharedBuffer:
                    break
            else:
                pytest.fail("the side socket took everything")
            assert prepared.buffers[0] == buffer.view()
            forget_segments()
            (first,) = ends.send(Payload(b"", (kept[0],)))  # takes in all descriptors
            assert bytes(first)[:1] == b"\x01"
            (last,) = ends.send(Payload(b"", (kept[-1],)))
            assert type(last) is SharedBuffer

    asyncio.run(go())


def test_place_without_descriptor():
    """A frame that refers to a segment which never came is an error, not a wait; the segment comes with the next one."""

    async def go():
        pool = Pool(64 * MB)
        buffer = written(pool, "lost")
        with Ends() as ends:
            (_, place) = parts_of(ends.out.prepare(Payload(b"", (buffer,))))
            assert ends.into._side.recv(64)  # without room for a descriptor
            forget_segments()
            with pytest.raises(MotetError, match="descriptor"):
                ends.into.find(place)
            FrameReader(lambda kind, _, meta, __: ends.out.lacking(meta) if kind == FrameKind.LACK else None).feed(ends.frames.pop())
            (found,) = ends.send(Payload(b"", (buffer,)))
            assert bytes(found)[:4] == b"lost"

    asyncio.run(go())


def test_kept_until_confirmed():
    """A sender holds what it has sent until the receiver says that it does."""

    async def go():
        pool = Pool(64 * MB)
        forget_segments()
        with Ends() as ends:
            payload = Payload(b"", (written(pool, "kept"),))
            ends.out.keep(payload)
            del payload
            assert pool.usage.free == 0
            ends.into.received((1, parts_of(Payload(b"", (written(pool, "x"),)))[1]))
            ends.into.confirm()
            frame = ends.frames.pop()
            ends.out.confirmed(memoryview(frame[13:]))
            assert pool.usage.free == 2 * MB

    asyncio.run(go())


def test_forwarders_pass_on_that_a_segment_is_gone():
    """A process that has passed a segment on says so when it drops it, so that nobody keeps the memory of the dead."""

    async def go():
        pool = Pool(64 * MB)
        buffer = written(pool, "gone")
        forget_segments()
        with Ends() as first, Ends() as second:
            (found,) = first.send(Payload(b"", (buffer,)))
            second.out.prepare(Payload(b"", (found,)))
            segment = found.lease.segment
            del found
            gc.collect()
            assert not second.frames
            first.into.close()
            await asyncio.sleep(0)
            assert segment.key not in segments._segments
            assert len(second.frames) == 1

    asyncio.run(go())


def test_fork(monkeypatch):
    """A forked child has no pool, and holds what its parent held for itself."""
    pool = Pool(64 * MB)
    monkeypatch.setattr(memory, "_pool", pool)
    buffer = written(pool, "both")
    segment, block = buffer.lease.segment, buffer.lease.block
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        fine = memory.pool() is None and bytes(buffer)[:4] == b"both" and segment.owner is None
        os.write(writer, b"+" if fine else b"-")
        signal.pause()
    try:
        assert os.read(reader, 1) == b"+"
        del buffer
        with segments.mutex:
            assert not segment.reclaim(block)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with segments.mutex:
        assert segment.reclaim(block)


def test_idle_memory_is_given_back_by_itself(monkeypatch):
    """A process whose links have shared memory gives it back when it is idle, without any call."""
    pool = Pool(2**30)
    monkeypatch.setattr(memory, "_pool", pool)
    monkeypatch.setattr(memory, "IDLE", 0.001)
    monkeypatch.setattr(memory, "RESERVE", 0)

    async def go():
        with Ends() as ends:
            ends.out.prepare(Payload(b"", (written(pool, "soon"),)))
            async with asyncio.timeout(PATIENCE):
                while pool.usage.bytes:  # noqa: ASYNC110  # a timer has no event
                    await asyncio.sleep(0)

    asyncio.run(go())
    assert pool.usage.free == 0


def test_callers_that_send_no_side_socket():
    """A connection that brings no descriptor, or ends at once, is no caller's."""
    here, there = socket.socketpair()
    here.send(b"m")
    assert take_side(there) is None
    here.close()
    assert take_side(there) is None
    there.close()
