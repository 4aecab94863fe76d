"""An agent, wired together."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from kraken.agent.announcing import Announcing
from kraken.agent.cache import BlobCache
from kraken.agent.contents import RepositoryContents
from kraken.agent.known_manifests import KnownManifests
from kraken.agent.service import AgentReads
from kraken.agent.settings import AgentSettings
from kraken.cluster.hosts import NodeCard
from kraken.cluster.io.members import Members
from kraken.cluster.io.node_route import add_node_route
from kraken.core.errors import BadConfig
from kraken.core.metainfo import SwarmId
from kraken.core.peers import Address, Role
from kraken.index.client import IndexClient
from kraken.observability.events import Event
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.oci.io.mirrored_reads import MirroredReads
from kraken.oci.io.routes import RegistryRoutes
from kraken.oci.mirroring import Mirroring
from kraken.origin.mirror_client import MirrorClient
from kraken.p2p.events import PeersOffered
from kraken.p2p.io.live_view import add_live_view
from kraken.p2p.io.node import PeerNode
from kraken.runtime.bandwidth import Traffic
from kraken.runtime.clock import SystemClock
from kraken.runtime.descriptors import require_descriptors
from kraken.runtime.tasks import Tasks
from kraken.runtime.threads import FileThreads
from kraken.runtime.web import WebServer, component_app
from kraken.runtime.web_client import HttpClient
from kraken.storage.io.catalog_store import CatalogBlobStore
from kraken.storage.io.disk import DiskMedium
from kraken.storage.io.evictor import Evictor
from kraken.tracker.client import Announcer, TrackerClient

KIND: Final = "agent"

_GOODBYE_SECONDS: Final = 1.0


class Agent:
    """The local registry of a host, and a peer of the others."""

    kind = KIND

    def __init__(self, settings: AgentSettings) -> None:
        """Raises: BadConfig, when it is to mirror registries and knows no origin that could read them."""
        if settings.mirror.upstreams and not settings.cluster.origins:
            raise BadConfig("mirror.upstreams needs cluster.origins: it is they who read from other registries")
        self._settings = settings
        self.name = settings.name
        self.metrics = Metrics(KIND, settings.name)
        log = self._log = get_logger(KIND, settings.name)
        clock = SystemClock()
        self._threads = FileThreads()
        self._tasks = Tasks(log, self.metrics)
        self._http_client = HttpClient(settings.client)
        cluster = settings.cluster
        self._trackers = Members("tracker", cluster.trackers, self._http_client, cluster, log, self.metrics)
        self._indexes = Members("index", cluster.indexes, self._http_client, cluster, log, self.metrics)
        self._origins = Members("origin", cluster.origins, self._http_client, cluster, log, self.metrics)
        self._index_client = IndexClient(self._http_client, self._indexes, clock, secrets.token_hex(8))
        trackers = TrackerClient(self._http_client, self._trackers)
        self.blobs = CatalogBlobStore(
            DiskMedium(settings.data), self._threads, clock, log, self.metrics, settings.download.verify
        )
        self._known = KnownManifests(settings.data / "manifests.sqlite", self._threads)
        self._traffic = Traffic.of(settings.bandwidth)
        self.node = PeerNode(
            Role.AGENT,
            self.blobs,
            settings.peer,
            settings.swarm,
            log,
            self.metrics,
            zone=settings.zone,
            traffic=self._traffic,
        )
        self._announcing = Announcing(trackers, self._offer, self._tasks, log, self.metrics)
        self.node.on_peers_needed = self._announcing.peers_needed
        evictor = Evictor(
            self.blobs, settings.data, settings.cache, self._threads, log, self.metrics, lambda: self._cache.pinned
        )
        self._cache = BlobCache(
            self.blobs,
            self.node,
            trackers,
            self._announcing,
            evictor,
            settings.download,
            self._tasks,
            log,
            self.metrics,
        )
        app = component_app(KIND, settings.name, self.metrics, self._reasons_not_ready)
        add_node_route(app, self.card)
        add_live_view(app, self.node)
        contents = RepositoryContents(self._index_client, settings.confirm_seconds, clock, log)
        mirroring = Mirroring(settings.mirror)
        reads = MirroredReads(
            AgentReads(
                self._cache, self._known, contents, self._index_client, self._traffic.sent, clock, log, self.metrics
            ),
            MirrorClient(self._http_client, self._origins, clock, settings.mirror.patience_seconds),
            mirroring,
        )
        RegistryRoutes(reads, log, mirroring).register(app)
        self._server = WebServer(app, settings.http)
        self._is_started = False

    @property
    def data(self) -> Path | None:
        return self._settings.data

    @property
    def http(self) -> Address:
        return self._server.address

    @property
    def peer(self) -> Address | None:
        return self.node.address

    def card(self) -> NodeCard:
        """What this agent says of itself."""
        return NodeCard(KIND, self.name, str(self.node.address), self.node.peer_id.hex())

    def retune(self, settings: AgentSettings) -> None:
        """Take over those settings that can be changed while it runs: limits of bandwidth, and TLS between peers."""
        self._traffic.set_limits(settings.bandwidth)
        self.node.retune(settings.peer)

    async def start(self) -> None:
        settings = self._settings
        require_descriptors(settings.peer.descriptors, settings.http.max_connections, settings.client.max_connections)
        await self.blobs.start()
        await self._known.start()
        if self._known.failure is not None:
            self._log.warning(Event.MANIFESTS_NOT_KEPT, error=self._known.failure)
        await self.node.start()
        await self._trackers.start()
        await self._indexes.start()
        if settings.mirror.upstreams:
            await self._origins.start()
        self._announcing.start(
            Announcer(self.node.peer_id, settings.announce_host, self.node.address.port, Role.AGENT, settings.zone)
        )
        self._cache.announce_all()
        await self._server.start()
        self._is_started = True

    async def stop(self) -> None:
        if self._is_started:
            self._is_started = False
            await self._announcing.say_goodbye(_GOODBYE_SECONDS)
        await self._server.stop()
        await self._tasks.close()
        await self.node.stop()
        await self._index_client.close()
        await self._indexes.stop()
        await self._origins.stop()
        await self._trackers.stop()
        await self._http_client.close()
        await self._known.close()
        await self.blobs.close()
        self._threads.close()

    def _offer(self, swarm: SwarmId, offered: PeersOffered) -> None:
        self._cache.offer(swarm, offered)

    def _reasons_not_ready(self) -> list[str]:
        if not self._is_started:
            return ["the cache is not open"]
        reasons = []
        if not self._trackers.heard():
            reasons.append("no tracker answers")
        if not self._indexes.heard():
            reasons.append("no index node answers")
        return reasons
