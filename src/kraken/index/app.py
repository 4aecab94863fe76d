"""An index node, wired together."""

from __future__ import annotations

import secrets
from pathlib import Path

from kraken.cluster.hosts import NodeCard
from kraken.cluster.io.members import Members
from kraken.cluster.io.node_route import add_node_route
from kraken.core.peers import Address
from kraken.index.client import IndexClient
from kraken.index.collector import Alone, Collector
from kraken.index.http import IndexRoutes
from kraken.index.settings import IndexSettings
from kraken.index.sqlite import SqliteIndexStore
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.runtime.clock import SystemClock
from kraken.runtime.tasks import Tasks
from kraken.runtime.web import WebServer, component_app
from kraken.runtime.web_client import HttpClient

KIND = "index"
_FILE = "index.sqlite"


class Index:
    """A component of kind index. Its database is opened at the start, and made when there is none."""

    kind = KIND
    peer: Address | None = None

    def __init__(self, settings: IndexSettings) -> None:
        self.name = settings.name
        self.data: Path | None = settings.data
        self.metrics = Metrics(KIND, self.name)
        self._settings = settings
        self._log = get_logger(KIND, self.name)
        self._tasks = Tasks(self._log, self.metrics)
        self._http_client = HttpClient(settings.client)
        self._nodes = Members(
            KIND, settings.cluster.indexes, self._http_client, settings.cluster, self._log, self.metrics
        )
        self._names = IndexClient(self._http_client, self._nodes, SystemClock(), secrets.token_hex(8))
        self._store: SqliteIndexStore | None = None
        self._server: WebServer | None = None

    @property
    def http(self) -> Address:
        return self._server.address if self._server is not None else self._settings.http.listen

    async def start(self) -> None:
        settings, clock = self._settings, SystemClock()
        self._store = SqliteIndexStore(settings.data / _FILE, clock)
        nodes = self._names if self._nodes.hosts else Alone(self._store, clock)
        collector = Collector(
            self._store, nodes, settings.collection, settings.retention, clock, self._log, self.metrics
        )
        app = component_app(KIND, self.name, self.metrics, list)
        IndexRoutes(self._store, collector, settings.http.idle_seconds).register(app)
        add_node_route(app, lambda: NodeCard(KIND, self.name))
        self._server = WebServer(app, self._settings.http)
        await self._server.start()
        await self._nodes.start()
        self._tasks.spawn("collect", collector.run_for_ever())

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop()
        await self._tasks.close()
        await self._names.close()
        await self._nodes.stop()
        await self._http_client.close()
        if self._store is not None:
            await self._store.close()
