"""Real components on loopback, for tests that need more than one of them to talk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
from tests.helpers.ports import free_address

from kraken.agent.app import Agent
from kraken.agent.settings import AgentSettings
from kraken.cluster.io.members import Members
from kraken.cluster.settings import ClusterSettings
from kraken.core.peers import Address
from kraken.index.app import Index
from kraken.index.client import IndexClient
from kraken.index.retention import RetentionRule
from kraken.index.settings import CollectionSettings as IndexCollection
from kraken.index.settings import IndexSettings
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.oci.mirroring import MirroringSettings
from kraken.origin.app import Origin
from kraken.origin.settings import CollectionSettings as OriginCollection
from kraken.origin.settings import OriginSettings
from kraken.proxy.app import Proxy
from kraken.proxy.settings import ProxySettings, PushSettings
from kraken.runtime.clock import SystemClock
from kraken.runtime.component import Component
from kraken.runtime.web import HttpSettings
from kraken.runtime.web_client import ClientSettings, HttpClient
from kraken.storage.eviction import CacheSettings
from kraken.tracker.app import Tracker
from kraken.tracker.settings import AnnounceSettings, TrackerSettings
from kraken.upstream.settings import MirrorSettings

QUICK_PROBES = ClusterSettings(probe_seconds=0.2, retry_seconds=0.05, probe_timeout_seconds=1.0)

ROOMY = CacheSettings(min_free_bytes=0)
"""A cache that does not care how full the machine's disk is."""


class Running:
    """Components that run, until they are stopped: by a test, or all at its end."""

    def __init__(self) -> None:
        self._started: list[Component] = []

    async def start(self, component: Component) -> None:
        self._started.append(component)
        await component.start()

    async def stop(self, component: Component) -> None:
        self._started.remove(component)
        await component.stop()

    async def stop_all(self) -> None:
        for component in reversed(self._started[:]):
            await self.stop(component)


@asynccontextmanager
async def running(*components: Component) -> AsyncIterator[Running]:
    """The components, started in this order and stopped in the reverse one."""
    all_of_them = Running()
    try:
        for component in components:
            await all_of_them.start(component)
        yield all_of_them
    finally:
        await all_of_them.stop_all()


@asynccontextmanager
async def reachable(kind: str, hosts: Sequence[Address]) -> AsyncIterator[tuple[HttpClient, Members]]:
    """A client, and members that are not probed: what they know comes from the requests of the test."""
    http = HttpClient(ClientSettings(connect_seconds=1.0, idle_seconds=5.0))
    members = Members(kind, hosts, http, ClusterSettings(), get_logger("test", "test"), Metrics("test", "test"))
    try:
        yield http, members
    finally:
        await http.close()


@asynccontextmanager
async def index_client(hosts: Sequence[Address], node: str = "00000000000000aa") -> AsyncIterator[IndexClient]:
    """A client of index nodes."""
    async with reachable("index", hosts) as (http, members):
        client = IndexClient(http, members, SystemClock(), node)
        try:
            yield client
        finally:
            await client.close()


def an_index(
    data: Path,
    address: Address,
    collection: IndexCollection | None = None,
    cluster: ClusterSettings = QUICK_PROBES,
    retention: tuple[RetentionRule, ...] = (),
) -> Index:
    """An index node that has not started."""
    return Index(
        IndexSettings(
            name="index",
            data=data,
            http=HttpSettings(listen=address),
            collection=collection or IndexCollection(),
            retention=retention,
            cluster=cluster,
        )
    )


@dataclass
class SmallCluster:
    """Origins, index nodes, a tracker and a proxy. They can be stopped one by one."""

    data: Path
    origin_count: int = 3
    index_count: int = 2
    push: PushSettings = field(default_factory=PushSettings)
    announce: AnnounceSettings = field(default_factory=AnnounceSettings)
    at_index: IndexCollection = field(default_factory=IndexCollection)
    at_origin: OriginCollection = field(default_factory=OriginCollection)
    mirror: MirrorSettings = field(default_factory=MirrorSettings)
    mirroring: MirroringSettings = field(default_factory=MirroringSettings)

    def __post_init__(self) -> None:
        self.running = Running()
        origins = tuple(free_address() for _ in range(self.origin_count))
        indexes = tuple(free_address() for _ in range(self.index_count))
        self.settings = replace(QUICK_PROBES, origins=origins, indexes=indexes)
        self.origins = [self._origin(number, at) for number, at in enumerate(origins)]
        self.indexes = [
            an_index(self.data / f"index-{number}", at, self.at_index, self.settings)
            for number, at in enumerate(indexes)
        ]
        self.tracker = Tracker(
            TrackerSettings(name="tracker", http=_listen(free_address()), cluster=self.settings, announce=self.announce)
        )
        self.proxy = self.another_proxy()

    def another_proxy(self) -> Proxy:
        listen = _listen(free_address())
        return Proxy(
            ProxySettings(name="proxy", http=listen, cluster=self.settings, push=self.push, mirror=self.mirroring)
        )

    def an_agent(self, name: str = "agent") -> Agent:
        """An agent of this cluster that has not started."""
        cluster = replace(self.settings, trackers=(self.tracker.http,))
        return Agent(
            AgentSettings(
                name=name,
                data=self.data / name,
                http=_listen(free_address()),
                cluster=cluster,
                cache=ROOMY,
                mirror=self.mirroring,
            )
        )

    @property
    def components(self) -> list[Component]:
        return [*self.origins, *self.indexes, self.tracker, self.proxy]

    def _origin(self, number: int, at: Address) -> Origin:
        name = f"origin-{number}"
        data, listen = self.data / name, _listen(at)
        return Origin(
            OriginSettings(
                name=name,
                data=data,
                http=listen,
                cluster=self.settings,
                collection=self.at_origin,
                mirror=self.mirror,
            )
        )


@asynccontextmanager
async def small_cluster(
    data: Path,
    origins: int = 3,
    indexes: int = 2,
    push: PushSettings | None = None,
    at_index: IndexCollection | None = None,
    at_origin: OriginCollection | None = None,
    mirror: MirrorSettings | None = None,
    mirroring: MirroringSettings | None = None,
) -> AsyncIterator[SmallCluster]:
    """A running cluster."""
    cluster = SmallCluster(
        data,
        origins,
        indexes,
        push or PushSettings(),
        at_index=at_index or IndexCollection(),
        at_origin=at_origin or OriginCollection(),
        mirror=mirror or MirrorSettings(),
        mirroring=mirroring or MirroringSettings(),
    )
    try:
        for component in cluster.components:
            await cluster.running.start(component)
        yield cluster
    finally:
        await cluster.running.stop_all()


@asynccontextmanager
async def http_session(address: Address) -> AsyncIterator[aiohttp.ClientSession]:
    """Plain HTTP as a client of the registry speaks it; paths are relative to `address`."""
    async with aiohttp.ClientSession(
        f"http://{address}", auto_decompress=False, timeout=aiohttp.ClientTimeout(total=30)
    ) as session:
        yield session


def _listen(address: Address) -> HttpSettings:
    return HttpSettings(listen=address, drain_seconds=1.0)
