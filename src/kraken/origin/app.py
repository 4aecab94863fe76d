"""An origin, wired together."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from pathlib import Path
from typing import Final

from kraken.cluster.hashring import Ring
from kraken.cluster.hosts import NodeCard
from kraken.cluster.io.members import Members
from kraken.cluster.io.node_route import add_node_route
from kraken.core.digest import Digest
from kraken.core.errors import BadConfig
from kraken.core.peers import Address, Role
from kraken.index.client import IndexClient
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.origin.collector import Collector
from kraken.origin.http import OriginRoutes
from kraken.origin.mirror_http import MirrorRoutes
from kraken.origin.mirror_names import IndexedNames
from kraken.origin.pull_through import PullThrough
from kraken.origin.pulled_blobs import PulledBlobs
from kraken.origin.replica_sender import HttpReplicaSender
from kraken.origin.replication import Replicator
from kraken.origin.service import OriginService
from kraken.origin.settings import OriginSettings
from kraken.p2p.io.live_view import add_live_view
from kraken.p2p.io.node import PeerNode
from kraken.p2p.suggestions import Lot
from kraken.runtime.bandwidth import Traffic
from kraken.runtime.clock import SystemClock
from kraken.runtime.descriptors import require_descriptors
from kraken.runtime.tasks import Tasks
from kraken.runtime.threads import FileThreads
from kraken.runtime.web import WebServer, component_app
from kraken.runtime.web_client import HttpClient
from kraken.storage.io.catalog_store import CatalogBlobStore
from kraken.storage.io.disk import DiskMedium
from kraken.storage.io.uploads import UploadSessions
from kraken.upstream.io.registries import Upstreams

KIND: Final = "origin"

_MOST_SECONDS_BETWEEN_SWEEPS: Final = 600.0


class Origin:
    """Part of the cluster that keeps blobs: stores uploads, copies them to their owners, and serves them."""

    kind = KIND

    def __init__(self, settings: OriginSettings) -> None:
        """Raises: BadConfig, when the cluster does not name this origin."""
        self._settings = settings
        self.name = settings.name
        self.metrics = Metrics(KIND, settings.name)
        self._log = get_logger(KIND, settings.name)
        self._me = _own_address(settings)
        self._threads = FileThreads()
        clock = SystemClock()
        self._http_client = HttpClient(settings.client)
        self.blobs = CatalogBlobStore(DiskMedium(settings.data), self._threads, clock, self._log, self.metrics)
        self._uploads = UploadSessions(self.blobs, self._threads, clock, self._log, self.metrics)
        ring = Ring(settings.cluster.origins or (self._me,), settings.cluster.replicas)
        self._others = Members(
            KIND,
            [host for host in ring.hosts if host != self._me],
            self._http_client,
            settings.cluster,
            self._log,
            self.metrics,
        )
        self._traffic = Traffic.of(settings.bandwidth)
        self._replicator = Replicator(
            self._me,
            ring,
            self.blobs,
            HttpReplicaSender(self._http_client, self.blobs, settings.replica_stall_seconds, self._traffic.sent),
            settings.write_quorum,
            self._log,
            self.metrics,
        )
        self.node = PeerNode(
            Role.ORIGIN,
            self.blobs,
            settings.peer,
            settings.swarm,
            self._log,
            self.metrics,
            zone=settings.zone,
            lots=partial(_lot, ring, self._me, self._others),
            traffic=self._traffic,
        )
        service = OriginService(self.blobs, self._uploads, self._replicator, self._log)
        self._indexes = Members(
            "index", settings.cluster.indexes, self._http_client, settings.cluster, self._log, self.metrics
        )
        self._names = IndexClient(self._http_client, self._indexes, clock, secrets.token_hex(8))
        self._collector = Collector(self.blobs, self._names, settings.collection, clock, self._log, self.metrics)
        self._upstreams = Upstreams(settings.mirror.upstreams, self._threads, clock, self._log, self.metrics)
        names = IndexedNames(self._names, clock)
        pulled = PulledBlobs(self.blobs, self._uploads, self._replicator)
        self._pull_through = PullThrough(
            self._upstreams, names, pulled, settings.mirror, clock, self._log, self.metrics
        )
        app = component_app(KIND, settings.name, self.metrics, self._reasons_not_ready)
        add_node_route(app, self.card)
        add_live_view(app, self.node)
        OriginRoutes(service, self._collector, self._traffic, settings.http.idle_seconds).add_to(app)
        MirrorRoutes(self._pull_through, names).add_to(app)
        self._server = WebServer(app, settings.http)
        self._tasks = Tasks(self._log, self.metrics)
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
        """What this origin says of itself."""
        return NodeCard(KIND, self.name, str(self.node.address), self.node.peer_id.hex())

    def retune(self, settings: OriginSettings) -> None:
        """Take over those settings that can be changed while it runs: limits of bandwidth, and TLS between peers."""
        self._traffic.set_limits(settings.bandwidth)
        self.node.retune(settings.peer)

    async def start(self) -> None:
        settings = self._settings
        require_descriptors(settings.peer.descriptors, settings.http.max_connections, settings.client.max_connections)
        await self.blobs.start()
        await self.node.start()
        await self._server.start()
        await self._others.start()
        await self._indexes.start()
        self._tasks.spawn("sweep_uploads", self._sweep_uploads())
        if self._indexes.hosts:
            self._tasks.spawn("collect", self._collector.run_for_ever())
        self._is_started = True

    async def stop(self) -> None:
        self._is_started = False
        await self._server.stop()
        await self._pull_through.close()
        await self._upstreams.close()
        await self.node.stop()
        await self._replicator.close(self._settings.http.drain_seconds)
        await self._tasks.close()
        await self._others.stop()
        await self._names.close()
        await self._indexes.stop()
        await self._http_client.close()
        await self.blobs.close()
        self._threads.close()

    def _reasons_not_ready(self) -> list[str]:
        if not self._is_started:
            return ["the store is not open"]
        reachable = 1 + len(self._others.healthy())
        needed = min(self._settings.write_quorum, 1 + len(self._others.hosts))
        if reachable < needed:
            return [f"{reachable} of the {needed} origins that a push needs can be reached"]
        return []

    async def _sweep_uploads(self) -> None:
        expiry = self._settings.upload_expiry_seconds
        while True:
            await self._uploads.sweep(expiry)
            await asyncio.sleep(min(expiry / 4, _MOST_SECONDS_BETWEEN_SWEEPS))


def _own_address(settings: OriginSettings) -> Address:
    """The entry of cluster.origins that is this origin; alone, it needs none. Raises: BadConfig."""
    me = settings.address or settings.http.listen
    origins = settings.cluster.origins
    if origins and me not in origins:
        listed = ", ".join(str(origin) for origin in origins)
        raise BadConfig(f"cluster.origins ({listed}) does not name {me}: set address to the entry that is this origin")
    return me


def _lot(ring: Ring, me: Address, others: Members, digest: Digest) -> Lot:
    """What of a blob falls to this origin: those of its owners that can be reached share it out."""
    owners = [owner for owner in ring.owners(str(digest)) if owner == me or others.is_healthy(owner)]
    return Lot(owners.index(me), len(owners)) if me in owners else Lot()
