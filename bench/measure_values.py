"""Large values and streams: arrays as arguments beside pickle over a Unix socket, and items of a stream a second."""

from __future__ import annotations

import socket
import time

import apps
import motet
from figures import Effort, Figure, Table
from processes import Peer, first_answer, free_port, motet_serve, server

SIZES = (1_000_000, 10_000_000)  # bytes
END = b"\r\n0\r\n\r\n"


def arrays(effort: Effort) -> Table:
    """Measure arrays as arguments of an endpoint in another process."""
    rounds, calls = effort.pick(9, 5), {SIZES[0]: 31, SIZES[1]: 7}
    motets: dict[int, list[float]] = {size: [] for size in SIZES}
    pickles: dict[int, list[float]] = {size: [] for size in SIZES}
    with Peer("raw_pickle.py") as raw, motet.run(apps.front, engine="local") as front:
        for size in SIZES:
            raw.ask(size, 3), front.array(size, 3).result()
        for _ in range(rounds):
            for size in SIZES:
                pickles[size].append(1e3 * raw.ask(size, calls[size]))
                motets[size].append(1e3 * front.array(size, calls[size]).result())
    return Table(
        name="arrays",
        peer="pickle over a socket",
        figures=[Figure(what=f"{size // 1_000_000} MB", unit="ms", values=motets[size], peers=pickles[size]) for size in SIZES],
    )


def streams(effort: Effort) -> Table:
    """Measure streams of small items, between services and as lines of JSON over HTTP."""
    rounds, items = effort.pick(9, 5), effort.pick(20_000, 5000)
    port = free_port()
    kinds = {"async": False, "sync": True}
    between: dict[str, list[float]] = {kind: [] for kind in kinds}
    over_http: dict[str, list[float]] = {kind: [] for kind in kinds}
    with server(motet_serve("counting", port)), motet.run(apps.front, engine="local") as front:
        first_answer(port, "/in_loop", b'{"x": 1}')
        for _ in range(rounds):
            for kind, threads in kinds.items():
                between[kind].append(front.stream(items, threads=threads).result())
                over_http[kind].append(_read_lines(port, "/count_in_thread" if threads else "/count", items))
    return Table(
        name="streams",
        figures=[
            *(Figure(what=f"{kind} generator to a service", unit="items/s", values=values) for kind, values in between.items()),
            *(Figure(what=f"{kind} generator to an HTTP client", unit="items/s", values=values) for kind, values in over_http.items()),
        ],
    )


def _read_lines(port: int, path: str, items: int) -> float:
    """Return how many items a client gets in a second that does nothing but read."""
    body = b'{"items": %d}' % items
    head = b"POST %b HTTP/1.1\r\nhost: bench\r\naccept: application/x-ndjson\r\ncontent-type: application/json\r\n" % path.encode()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        begun = time.perf_counter()
        connection.sendall(head + b"content-length: %d\r\n\r\n%b" % (len(body), body))
        pieces: list[bytes] = []
        tail = b""
        while not tail.endswith(END):
            pieces.append(connection.recv(65536))
            if not pieces[-1]:
                raise RuntimeError(b"".join(pieces).decode())
            tail = (tail + pieces[-1])[-len(END) :]
        took = time.perf_counter() - begun
    answer = b"".join(pieces)
    assert answer.endswith(b"%d\n%b" % (items - 1, END)), answer[:300]
    return items / took
