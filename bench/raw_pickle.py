"""The bare peer of array arguments: two processes, an array pickled over a Unix socket, blocking, one at a time.

It takes requests on standard input: `SIZE CALLS` is answered with the median seconds from pickling SIZE bytes to hearing that
they are unpickled.
"""

from __future__ import annotations

import json
import multiprocessing
import pickle
import socket
import struct
import sys
import time

import numpy as np

LENGTH = struct.Struct("<Q")


def exactly(connection: socket.socket, size: int) -> bytearray:
    """Receive `size` bytes; fewer if the other side is gone."""
    data = bytearray(size)
    view, filled = memoryview(data), 0
    while filled < size and (count := connection.recv_into(view[filled:])):
        filled += count
    return data[:filled]


def other_process(connection: socket.socket) -> None:
    """Unpickle what comes and answer with its size."""
    while len(prefix := exactly(connection, LENGTH.size)) == LENGTH.size:
        array = pickle.loads(exactly(connection, *LENGTH.unpack(prefix)))
        connection.sendall(LENGTH.pack(array.nbytes))


def send(connection: socket.socket, array: np.ndarray) -> float:
    """Return the seconds that it took."""
    begun = time.perf_counter()
    data = pickle.dumps(array, protocol=5)
    connection.sendall(LENGTH.pack(len(data)))
    connection.sendall(data)
    assert LENGTH.unpack(exactly(connection, LENGTH.size)) == (array.nbytes,)
    return time.perf_counter() - begun


if __name__ == "__main__":
    here, there = socket.socketpair()
    other = multiprocessing.get_context("spawn").Process(target=other_process, args=(there,), daemon=True)
    other.start()
    there.close()
    while words := sys.stdin.readline().split():
        array, calls = np.zeros(int(words[0]), dtype=np.uint8), int(words[1])
        print(json.dumps(sorted(send(here, array) for _ in range(calls))[calls // 2]), flush=True)
    here.close()
    other.join()
