"""Routing: which replica gets a request, who waits while there is none, and what is tried again when one dies."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from dataclasses import dataclass, field

from motet.errors import DeadlineExceeded, MotetError, Overloaded, ReplicaDied, ShuttingDown, Unavailable
from motet.runtime.exchange import TUNNEL, Exchange, Link
from motet.runtime.timeouts import Timeouts
from motet.wire.failure import Failure, record
from motet.wire.names import class_name

log = logging.getLogger("motet.router")

MAX_WAITING = 1000  # requests that may wait for a first replica, per node
IDEMPOTENT_RETRIES = 2
_STOPPING = frozenset(class_name(kind) for kind in (ShuttingDown, Unavailable))


@dataclass(slots=True)
class Route:
    """What a caller knows of one node: links to its replicas, and requests that wait for the first."""

    links: list[Link] = field(default_factory=list["Link"])
    waiting: deque[Exchange] = field(default_factory=deque["Exchange"])
    broken: str | None = None  # why there will be no replica


class Router:
    """Sends exchanges to replicas, least outstanding of two choices; everything happens in one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, owner: str) -> None:
        self._routes: dict[str, Route] = {}
        self._owner = owner
        self._timeouts = Timeouts(loop, self._expire)
        self._closed = False

    def route(self, address: str) -> Route:
        """Return the route to a node, an empty one if it is new."""
        return self._routes.setdefault(address, Route())

    def set_links(self, address: str, links: list[Link], *, broken: str | None = None) -> None:
        """Replace the replicas of a node; requests that wait for one go out, or hear why there is none."""
        route = self.route(address)
        route.links = links
        route.broken = broken
        if links or broken is not None:
            waiting, route.waiting = route.waiting, deque()
            for exchange in waiting:
                self._assign(exchange)

    def remove_link(self, link: Link) -> None:
        """Stop using a link that has ended."""
        for route in self._routes.values():
            if link in route.links:
                route.links = [other for other in route.links if other is not link]

    def send(self, exchange: Exchange) -> None:
        """Send an exchange to a replica, now or as soon as there is one."""
        exchange.router = self
        self._timeouts.add(exchange, exchange.deadline)
        self._assign(exchange)

    def hold(self, exchange: Exchange) -> None:
        """Watch the deadline of an exchange that isn't ready to be sent."""
        exchange.router = self
        self._timeouts.add(exchange, exchange.deadline)

    def release(self, exchange: Exchange) -> None:
        """Send an exchange that was held."""
        self._assign(exchange)

    def _assign(self, exchange: Exchange, *, without: Link | None = None) -> None:
        route = self._routes.get(exchange.target) or self.route(exchange.target)
        links = route.links if without is None else [link for link in route.links if link is not without]
        if len(links) == 1:
            link = links[0]
        elif links:
            # Two different ones at random, in a quarter of the time of `random.sample`.
            chosen = int(random.random() * len(links))  # noqa: S311  # balancing, not secrecy
            first, second = links[chosen], links[chosen - 1 - int(random.random() * (len(links) - 1))]  # noqa: S311  # as above
            link = first if first.outstanding <= second.outstanding else second
        elif route.broken is not None or self._closed:
            self.fail(
                exchange,
                Unavailable(f"{exchange.target} has no replica", where=exchange.name, found=route.broken or "this process is stopping"),
            )
            return
        elif len(route.waiting) >= MAX_WAITING:
            self.fail(
                exchange, Overloaded(f"{exchange.target} has no replica yet and {MAX_WAITING} calls wait for one", where=exchange.name)
            )
            return
        else:
            route.waiting.append(exchange)
            return
        exchange.link = link
        try:
            link.send(exchange)
        except MotetError as error:
            self.fail(exchange, error)
            return
        if exchange.format is TUNNEL and exchange.link is link:
            exchange.assigned()

    def finished(self, exchange: Exchange) -> None:
        """Forget an exchange that has been answered."""
        self._timeouts.discard(exchange)
        exchange.link = None

    def cancel(self, exchange: Exchange) -> None:
        """Stop an exchange wherever it is; it gets no answer."""
        self._timeouts.discard(exchange)
        link, exchange.link = exchange.link, None
        if link is not None:
            link.cancel(exchange)
        else:
            waiting = self.route(exchange.target).waiting
            if exchange in waiting:
                waiting.remove(exchange)

    def credit(self, exchange: Exchange, items: int) -> None:
        """Let the producer of a stream send more items."""
        if exchange.link is not None:
            exchange.link.credit(exchange, items)

    def refused(self, exchange: Exchange, failure: Failure) -> bool:
        """Send an exchange that a stopping replica refused to begin to another one; returns whether there was one."""
        if failure.begun or failure.kind not in _STOPPING:  # an endpoint may raise such an error, too
            return False
        refusing = exchange.link
        if refusing is None or all(link is refusing for link in self.route(exchange.target).links):
            return False
        self._assign(exchange, without=refusing)
        return True

    def lost(self, exchange: Exchange, replica: str, *, begun: bool = True, why: str | None = None) -> None:
        """Decide about an exchange whose replica died, or was ended for a reason: try again if that is safe, else answer with an error."""
        exchange.link = None
        may_retry = (not begun) or (exchange.idempotent and exchange.retries > 0)
        if may_retry and not exchange.begun_stream and not self._closed:
            exchange.retries -= begun
            self._assign(exchange)
        else:
            self.fail(
                exchange,
                ReplicaDied(
                    f"the replica {replica} died before it answered" if why is None else f"the replica {replica} was ended: {why}",
                    where=exchange.name,
                    found=replica,
                    instead=None
                    if exchange.idempotent or why is not None
                    else "declare the endpoint idempotent to have such calls repeated",
                ),
            )

    def fail(self, exchange: Exchange, error: MotetError) -> None:
        """Answer an exchange with an error of the caller's side."""
        self.finished(exchange)
        exchange.on_failure(record(error, endpoint=exchange.name, replica=self._owner))

    def _expire(self, exchange: Exchange) -> None:
        self.cancel(exchange)
        exchange.on_failure(
            record(
                DeadlineExceeded(
                    "the deadline passed before the call was answered",
                    where=exchange.name,
                    instead="a longer timeout, or less work in the call",
                ),
                endpoint=exchange.name,
                replica=self._owner,
            )
        )

    def close(self) -> None:
        """Refuse what waits for a replica, and everything that comes."""
        self._closed = True
        self._timeouts.close()
        for route in self._routes.values():
            waiting, route.waiting = route.waiting, deque()
            for exchange in waiting:
                self._assign(exchange)
