"""A caller's view of which replicas there are: keeps the router's links as the supervisor says."""

from __future__ import annotations

import asyncio
import logging
import socket

from motet.engines.local.control import ReplicaAddress, Routed
from motet.engines.local.link import SocketLink
from motet.engines.local.sharing import open_side
from motet.runtime.exchange import Link
from motet.runtime.router import Router

log = logging.getLogger("motet.directory")

RETRY = 1.0  # s before a replica that couldn't be reached is tried again
RECONNECT = 0.2  # s after the loss of a link; by then the supervisor has said so if the replica has died


class Directory:
    """Connects to new replicas, retires links to those that are gone from the supervisor's list."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._links: dict[str, dict[str, SocketLink]] = {}  # by address and replica
        self._tasks: set[asyncio.Task[None]] = set()
        self._latest: dict[str, Routed] = {}
        self._closed = False

    def apply(self, routed: Routed) -> None:
        """Take a list of the supervisor; connecting goes on in the background."""
        self._latest[routed.address] = routed
        for identity, why in routed.ending.items():
            if (link := self._links.get(routed.address, {}).get(identity)) is not None:
                link.ending = why
        if routed.broken is None:
            # At once, so that calls made before the links stand wait for them instead of hearing of a node's former end.
            self._router.route(routed.address).broken = None
        task = asyncio.get_running_loop().create_task(self._connect(routed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, routed: Routed) -> None:
        links = self._links.setdefault(routed.address, {})
        unreached = False
        for replica in routed.replicas:
            if replica.identity in links and not links[replica.identity].closed:
                continue
            try:
                link = await self._new_link(routed.address, replica)
            except OSError as error:
                if self._latest[routed.address] is routed:  # else a newer list knows of its end already
                    log.warning("%s can't be reached: %s; trying again", replica.identity, error)
                    unreached = True
                continue
            if (other := links.get(replica.identity)) is not None and not other.closed:
                link.close()  # another list came meanwhile and has connected, too
            else:
                links[replica.identity] = link
        if self._latest[routed.address] is not routed:
            return  # a newer list came while connecting; its own task sets the links
        wanted = {replica.identity for replica in routed.replicas}
        for identity in [i for i in links if i not in wanted]:
            links.pop(identity).retire()
        usable: list[Link] = [link for link in links.values() if not link.closed]
        self._router.set_links(routed.address, usable, broken=routed.broken)
        if unreached:  # out of descriptors, say
            await asyncio.sleep(RETRY)
            if self._latest[routed.address] is routed:
                self.apply(routed)

    async def _new_link(self, address: str, replica: ReplicaAddress) -> SocketLink:
        """Connect to a replica, and give it the other end of a side socket before the loop has the connection.

        Raises:
            OSError: it can't be reached, or takes no more connections at the moment.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)  # noqa: FBT003  # takes no keyword
            connection.connect(replica.path)  # at once or not at all, for a Unix socket
            side = open_side(connection)
        except OSError:
            connection.close()
            raise
        link = SocketLink(replica.identity, self._router, lambda: self._lost(address, replica.identity), side)
        await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=connection)
        return link

    def _lost(self, address: str, identity: str) -> None:
        """Connect anew to a replica whose link ended, unless a newer list says that the replica did."""
        routed = self._latest[address]
        if not self._closed and any(replica.identity == identity for replica in routed.replicas):
            asyncio.get_running_loop().call_later(RECONNECT, self._reconnect, routed)

    def _reconnect(self, routed: Routed) -> None:
        if not self._closed and self._latest[routed.address] is routed:
            self.apply(routed)

    def close(self) -> None:
        """Close all links."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        for links in self._links.values():
            for link in links.values():
                link.close()
