"""A tracker, wired together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kraken.cluster.hosts import NodeCard
from kraken.cluster.io.members import Members
from kraken.cluster.io.node_route import add_node_route
from kraken.core.peers import Address
from kraken.observability.events import Event
from kraken.observability.logs import Log, get_logger
from kraken.observability.metrics import Metrics
from kraken.origin.client import OriginClient
from kraken.runtime.clock import SystemClock
from kraken.runtime.descriptors import allow_descriptors
from kraken.runtime.web import HttpSettings, WebServer, component_app
from kraken.runtime.web_client import HttpClient
from kraken.tracker.http import TrackerRoutes
from kraken.tracker.service import AnnounceDesk, MetainfoRelay, TrackerService, peer_table
from kraken.tracker.settings import TrackerSettings

KIND = "tracker"

_OTHER_DESCRIPTORS = 256
"""Open files and sockets beside the connections of the server."""


class Tracker:
    """A component of kind tracker. It keeps nothing: the peers' announces fill it again after a restart."""

    kind = KIND
    data: Path | None = None
    peer: Address | None = None

    def __init__(self, settings: TrackerSettings) -> None:
        self.name = settings.name
        self.metrics = Metrics(KIND, self.name)
        log = get_logger(KIND, self.name)
        self._client = HttpClient(settings.client)
        self._origins = Members("origin", settings.cluster.origins, self._client, settings.cluster, log, self.metrics)
        self._desk = AnnounceDesk(peer_table(settings.announce), SystemClock(), self.metrics)
        self._relay = MetainfoRelay(OriginClient(self._client, self._origins), settings.relay.cache_bytes, self.metrics)
        service = TrackerService(self._desk, self._origins, settings.cluster.replicas, settings.announce)
        app = component_app(KIND, self.name, self.metrics, self._not_ready)
        routes = TrackerRoutes(service, self._relay, self.metrics, settings.http.idle_seconds)
        routes.register(app)
        add_node_route(app, lambda: NodeCard(KIND, self.name))
        self._server = WebServer(app, _within_descriptors(settings.http, log), routes.express())

    @property
    def http(self) -> Address:
        return self._server.address

    async def start(self) -> None:
        await self._origins.start()
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()
        self._desk.close()
        await self._relay.close()
        await self._origins.stop()
        await self._client.close()

    def _not_ready(self) -> list[str]:
        return [] if self._origins.heard() else ["no origin answers"]


def _within_descriptors(http: HttpSettings, log: Log) -> HttpSettings:
    """The settings with as many connections as the process may have open, after it was allowed more where possible."""
    allowed = allow_descriptors(http.max_connections + _OTHER_DESCRIPTORS) - _OTHER_DESCRIPTORS
    if allowed >= http.max_connections:
        return http
    log.warning(Event.CONNECTIONS_LIMITED, allowed=allowed, wanted=http.max_connections)
    return replace(http, max_connections=max(1, allowed))
