"""A proxy, wired together."""

from __future__ import annotations

import random
import secrets
import socket
import uuid
from pathlib import Path

from kraken.cluster.hosts import NodeCard
from kraken.cluster.io.members import Members
from kraken.cluster.io.node_route import add_node_route
from kraken.core.peers import Address
from kraken.index.client import IndexClient
from kraken.notifications.envelope import Source
from kraken.notifications.notifier import Notifier
from kraken.notifications.sender import Observers as NotifierObservers
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.oci.io.mirrored_reads import MirroredReads
from kraken.oci.io.routes import RegistryRoutes
from kraken.oci.mirroring import Mirroring
from kraken.origin.client import OriginClient
from kraken.origin.mirror_client import MirrorClient
from kraken.proxy.deletes import Deletes
from kraken.proxy.events import RegistryEvents
from kraken.proxy.http import ProxyWrites
from kraken.proxy.manifests import Manifests
from kraken.proxy.observers import Observers
from kraken.proxy.reads import ProxyReads
from kraken.proxy.settings import ProxySettings
from kraken.proxy.uploads import Uploads
from kraken.runtime.clock import SystemClock
from kraken.runtime.web import WebServer, component_app
from kraken.runtime.web_client import HttpClient

KIND = "proxy"
_QUEUE_FILE = "notifications.sqlite"


class Proxy:
    """A component of kind proxy."""

    kind = KIND
    peer: Address | None = None

    def __init__(self, settings: ProxySettings) -> None:
        self.name = settings.name
        self.data: Path | None = settings.data
        self.metrics = Metrics(KIND, self.name)
        log = get_logger(KIND, self.name)
        clock = SystemClock()
        self._client = HttpClient(settings.client)
        cluster = settings.cluster
        self._origins = Members("origin", cluster.origins, self._client, cluster, log, self.metrics)
        self._indexes = Members("index", cluster.indexes, self._client, cluster, log, self.metrics)
        origins = OriginClient(self._client, self._origins)
        self._index_client = IndexClient(self._client, self._indexes, clock, secrets.token_hex(8))

        observers = Observers(log, self.metrics, clock)
        manifests = Manifests(origins, self._index_client, observers, settings.push)
        uploads = Uploads(origins, self._index_client, observers)
        deletes = Deletes(self._index_client, observers, settings.push)
        source = Source(f"{socket.gethostname()}:{settings.http.listen.port}", str(uuid.uuid4()))
        self._notifier = Notifier(
            settings.notifications,
            settings.data / _QUEUE_FILE,
            source,
            NotifierObservers(log, self.metrics, clock),
            random.Random(),
        )
        events = RegistryEvents(self._notifier, clock)
        writes = ProxyWrites(
            uploads, manifests, deletes, events, settings.http.idle_seconds, settings.push.stall_seconds
        )
        mirroring = Mirroring(settings.mirror)
        reads = MirroredReads(
            ProxyReads(origins, self._index_client, observers, settings.push.renew_seconds),
            MirrorClient(self._client, self._origins, clock, settings.mirror.patience_seconds),
            mirroring,
        )
        app = component_app(KIND, self.name, self.metrics, self._not_ready)
        RegistryRoutes(reads, log, mirroring, writes, events.pulled).register(app)
        add_node_route(app, lambda: NodeCard(KIND, self.name))
        self._server = WebServer(app, settings.http)

    @property
    def http(self) -> Address:
        return self._server.address

    async def start(self) -> None:
        await self._origins.start()
        await self._indexes.start()
        await self._notifier.start()
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()
        await self._notifier.stop()
        await self._index_client.close()
        await self._origins.stop()
        await self._indexes.stop()
        await self._client.close()

    def _not_ready(self) -> list[str]:
        reasons = []
        if not self._origins.heard():
            reasons.append("no origin answers")
        majority = len(self._indexes.hosts) // 2 + 1
        if len(self._indexes.heard()) < majority:
            reasons.append(f"{len(self._indexes.heard())} of {len(self._indexes.hosts)} index nodes answer")
        return reasons
