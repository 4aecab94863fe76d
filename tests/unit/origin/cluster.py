"""Real origins in one process, on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.helpers.ports import free_address

from kraken.cluster.io.members import Members
from kraken.cluster.settings import ClusterSettings
from kraken.core.peers import Address
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.origin.app import Origin
from kraken.origin.client import OriginClient
from kraken.origin.settings import OriginSettings
from kraken.runtime.web import HttpSettings
from kraken.runtime.web_client import ClientSettings, HttpClient


def free_addresses(count: int) -> list[Address]:
    """Loopback addresses at whose ports nobody listens."""
    return [free_address() for _ in range(count)]


class Cluster:
    """Origins that know each other, and a client that knows them all."""

    def __init__(self, root: Path, addresses: Sequence[Address], *, replicas: int, write_quorum: int) -> None:
        self.root = root
        self.settings = ClusterSettings(origins=tuple(addresses), replicas=replicas)
        self.write_quorum = write_quorum
        self.origins: dict[Address, Origin] = {}
        self.http = HttpClient(ClientSettings())
        self.members = Members(
            "origin", addresses, self.http, self.settings, get_logger("test", "client"), Metrics("test", "client")
        )
        self.client = OriginClient(self.http, self.members)

    async def start(self, address: Address) -> Origin:
        """Start one origin, for the first time or again."""
        settings = OriginSettings(
            name=f"origin-{address.port}",
            data=self.root / str(address.port),
            write_quorum=self.write_quorum,
            http=HttpSettings(listen=address, drain_seconds=1),
            cluster=self.settings,
        )
        origin = Origin(settings)
        self.origins[address] = origin
        await origin.start()
        return origin

    async def stop(self, address: Address) -> None:
        await self.origins.pop(address).stop()

    async def holders(self, key: str) -> set[Address]:
        """The running origins that have a complete blob of this digest."""
        return {
            address
            for address, origin in self.origins.items()
            if any(str(blob.digest) == key for blob in origin.blobs.digests())
        }

    async def held_everywhere(self, key: str, hosts: set[Address]) -> None:
        """Wait until exactly these origins hold the blob: copies beyond the quorum come a little later."""
        async with asyncio.timeout(20):
            while await self.holders(key) != hosts:  # origins tell nobody when a copy is there
                await asyncio.sleep(0.01)


@asynccontextmanager
async def cluster_of(count: int, root: Path, *, replicas: int = 3, write_quorum: int = 2) -> AsyncIterator[Cluster]:
    """So many running origins."""
    cluster = Cluster(root, free_addresses(count), replicas=replicas, write_quorum=write_quorum)
    for address in cluster.settings.origins:
        await cluster.start(address)
    try:
        yield cluster
    finally:
        for address in list(cluster.origins):
            await cluster.stop(address)
        await cluster.http.close()
