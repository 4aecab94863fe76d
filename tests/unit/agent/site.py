"""An agent's cache with its store in memory and its peer port on loopback; what is around it is scripted."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.helpers.blobs import Blob
from tests.helpers.components import ROOMY

from kraken.agent.announcing import Announcing
from kraken.agent.cache import BlobCache, BlobReader
from kraken.agent.settings import DownloadSettings
from kraken.core.digest import Digest
from kraken.core.errors import KrakenError, NotFound
from kraken.core.metainfo import Metainfo, SwarmId
from kraken.core.peers import Role
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.p2p.io.node import PeerNode
from kraken.p2p.settings import PeerSettings, SwarmSettings
from kraken.runtime.clock import SystemClock
from kraken.runtime.tasks import Tasks
from kraken.runtime.threads import FileThreads
from kraken.storage.eviction import CacheSettings
from kraken.storage.io.catalog_store import CatalogBlobStore
from kraken.storage.io.evictor import Evictor
from kraken.storage.io.memory import MemoryMedium
from kraken.tracker.client import Announced, Announcer
from kraken.tracker.messages import PeerEntry, SwarmAnnounce, SwarmPeers


class ScriptedTrackers:
    """Answers announces with `peers`, metainfo from `blobs`; fails with `error` while there is one."""

    def __init__(self) -> None:
        self.peers: list[PeerEntry] = []
        self.blobs: dict[Digest, tuple[Metainfo, bytes | None]] = {}
        self.error: KrakenError | None = None
        self.announced: list[SwarmAnnounce] = []
        self.asked = 0

    def knows(self, blob: Blob, content: bytes | None = None) -> None:
        self.blobs[blob.digest] = (blob.metainfo, content)

    def announces_of(self, swarm: SwarmId) -> list[SwarmAnnounce]:
        return [each for each in self.announced if each.swarm == swarm]

    async def announce(self, _announcer: Announcer, swarms: Sequence[SwarmAnnounce]) -> Announced:
        self.announced += swarms
        if self.error is not None:
            raise self.error
        return Announced(
            600.0, tuple(SwarmPeers(each.swarm, self.peers if each.want else []) for each in swarms), unreached=()
        )

    async def metainfo(self, digest: Digest) -> tuple[Metainfo, bytes | None]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        if digest not in self.blobs:
            raise NotFound(f"no origin has {digest}")
        return self.blobs[digest]


class Seeder:
    """Another node: it holds what it was given, and gives it on."""

    def __init__(self, role: Role = Role.ORIGIN) -> None:
        self.threads = FileThreads(2)
        self.metrics = Metrics(role.value, "seeder")
        log = get_logger(role.value, "seeder")
        self.store = CatalogBlobStore(MemoryMedium(), self.threads, SystemClock(), log, self.metrics)
        self.node = PeerNode(role, self.store, PeerSettings(), SwarmSettings(), log, self.metrics, seed=2)

    @property
    def entry(self) -> PeerEntry:
        address = self.node.address
        return PeerEntry(self.node.peer_id, address.host, address.port, self.node.role.value)

    async def put(self, blob: Blob, pieces: set[int] | None = None) -> None:
        """Let it hold these pieces of a blob, or all of them, and say so to those who are connected."""
        with await self.store.partial(blob.metainfo) as held:
            for piece in blob.metainfo.pieces.indices():
                if pieces is None or piece in pieces:
                    assert await held.write_piece(piece, blob.piece(piece))
        runner = self.node.runners.get(blob.metainfo.swarm)
        if runner is not None:
            runner.take_stock()

    async def start(self) -> None:
        await self.store.start()
        await self.node.start()

    async def stop(self) -> None:
        await self.node.stop()
        await self.store.close()
        self.threads.close()


class AgentSite:
    """The inside of an agent."""

    def __init__(self, download: DownloadSettings, cache: CacheSettings, root: Path) -> None:
        self.threads = FileThreads(2)
        self.metrics = Metrics("agent", "test")
        log = get_logger("agent", "test")
        self.tasks = Tasks(log, self.metrics)
        self.trackers = ScriptedTrackers()
        self.store = CatalogBlobStore(MemoryMedium(), self.threads, SystemClock(), log, self.metrics)
        self.node = PeerNode(Role.AGENT, self.store, PeerSettings(), SwarmSettings(), log, self.metrics, seed=1)
        self.announcing = Announcing(
            self.trackers, lambda swarm, offered: self.cache.offer(swarm, offered), self.tasks, log, self.metrics
        )
        self.node.on_peers_needed = self.announcing.peers_needed
        self.evictor = Evictor(self.store, root, cache, self.threads, log, self.metrics, lambda: self.cache.pinned)
        self.cache = BlobCache(
            self.store, self.node, self.trackers, self.announcing, self.evictor, download, self.tasks, log, self.metrics
        )

    async def put(self, blob: Blob, pieces: set[int] | None = None) -> None:
        """Let the cache hold these pieces of a blob, or the whole of it."""
        with await self.store.partial(blob.metainfo) as held:
            for piece in blob.metainfo.pieces.indices():
                if pieces is None or piece in pieces:
                    assert await held.write_piece(piece, blob.piece(piece))
            if pieces is None:
                await self.store.finish(held)

    async def start(self) -> None:
        await self.store.start()
        await self.node.start()
        self.announcing.start(Announcer(self.node.peer_id, None, self.node.address.port, Role.AGENT))

    async def stop(self) -> None:
        await self.tasks.close()
        await self.node.stop()
        await self.store.close()
        self.threads.close()


@asynccontextmanager
async def an_agent(
    *seeders: Seeder, download: DownloadSettings | None = None, cache: CacheSettings = ROOMY
) -> AsyncIterator[AgentSite]:
    """A started agent, whose trackers name these seeders; all are stopped at the end."""
    with tempfile.TemporaryDirectory() as root:
        agent = AgentSite(download or DownloadSettings(), cache, Path(root))
        started: list[Seeder | AgentSite] = []
        try:
            sites: list[Seeder | AgentSite] = [*seeders, agent]
            for site in sites:
                started.append(site)
                await site.start()
            agent.trackers.peers = [seeder.entry for seeder in seeders]
            async with asyncio.timeout(20):
                yield agent
        finally:
            for site in reversed(started):
                await site.stop()


async def read_all(reader: BlobReader) -> bytes:
    """The whole blob, as its reader makes it available."""
    data = b""
    while len(data) < reader.blob.size:
        ready = await reader.available(len(data), reader.blob.size)
        data += await reader.blob.read(len(data), ready - len(data))
    return data


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so; whoever calls has a deadline."""
    while not condition():
        await asyncio.sleep(0.002)
