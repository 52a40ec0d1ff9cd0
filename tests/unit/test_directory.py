"""A caller's links to replicas: what happens when one ends and its replica lives."""

import asyncio

from motet.engines.local.control import ReplicaAddress, Routed
from motet.engines.local.directory import Directory
from motet.runtime.router import Router
from motet.testing import PATIENCE


def test_lost_link_to_a_living_replica_is_made_anew(tmp_path):
    """When a connection breaks and the supervisor goes on listing the replica, the caller connects to it again."""

    async def main():
        connections = asyncio.Queue()
        server = await asyncio.start_unix_server(lambda reader, writer: connections.put_nowait(writer), str(tmp_path / "replica"))
        router = Router(asyncio.get_running_loop(), owner="test")
        directory = Directory(router)
        directory.apply(Routed(address="Node", replicas=(ReplicaAddress("Node#1", str(tmp_path / "replica")),)))
        async with asyncio.timeout(PATIENCE):
            first = await connections.get()
            first.close()
            second = await connections.get()
        directory.close()
        second.close()
        await asyncio.gather(first.wait_closed(), second.wait_closed())
        server.close()
        await server.wait_closed()

    asyncio.run(main())
