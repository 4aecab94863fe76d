"""A cluster in this process whose members can be stopped and started again, under a wall clock that can be moved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import aiohttp
from tests.helpers.components import QUICK_PROBES, ROOMY
from tests.helpers.ports import free_address

from kraken.agent.app import Agent
from kraken.agent.settings import AgentSettings
from kraken.core.digest import Digest
from kraken.core.errors import Unavailable
from kraken.core.peers import Address
from kraken.index.app import Index
from kraken.index.client import IndexClient, Link
from kraken.index.settings import CollectionSettings as IndexCollection
from kraken.index.settings import IndexSettings
from kraken.origin.app import Origin
from kraken.origin.settings import CollectionSettings as OriginCollection
from kraken.origin.settings import OriginSettings
from kraken.proxy.app import Proxy
from kraken.proxy.settings import ProxySettings, PushSettings
from kraken.runtime.clock import SystemClock
from kraken.runtime.component import Component
from kraken.runtime.web import HttpSettings
from kraken.tracker.app import Tracker
from kraken.tracker.settings import TrackerSettings

GRACE: Final = 600.0
"""Seconds. Far longer than any test takes, so that only moving the clock makes anything old."""

RENEW: Final = GRACE / 4
_NEVER: Final = 1e9

ORIGINS: Final = ("origin-0", "origin-1", "origin-2")
INDEXES: Final = ("index-0", "index-1", "index-2")
PROXIES: Final = ("proxy-0", "proxy-1")
AGENT: Final = "agent"


class RegistryWorld:
    """Three origins, three index nodes, a tracker, two proxies and an agent, which asks the index at each read.

    Nothing collects by itself. Args: untagged, whether index nodes collect manifests that no tag means.
    """

    def __init__(self, data: Path, *, untagged: bool) -> None:
        self.moved = 0.0
        self.unanswered = 0  # questions about blobs that too few index nodes answered, although none was away
        self._running: dict[str, Component] = {}
        self._listens = {name: free_address() for name in (*ORIGINS, *INDEXES, *PROXIES, "tracker", AGENT)}
        cluster = replace(
            QUICK_PROBES,
            origins=tuple(self._listens[name] for name in ORIGINS),
            indexes=tuple(self._listens[name] for name in INDEXES),
            trackers=(self._listens["tracker"],),
        )
        at_index = IndexCollection(
            every_seconds=_NEVER, grace_seconds=GRACE, untagged_manifests=untagged, forget_seconds=_NEVER
        )
        at_origin = OriginCollection(every_seconds=_NEVER, grace_seconds=GRACE, second_look_seconds=0)
        self._make: dict[str, Callable[[str, Path, HttpSettings], Component]] = {
            "index": lambda name, at, http: Index(
                IndexSettings(name=name, data=at, http=http, cluster=cluster, collection=at_index)
            ),
            "origin": lambda name, at, http: Origin(
                OriginSettings(
                    name=name,
                    data=at,
                    http=http,
                    cluster=cluster,
                    collection=at_origin,
                    upload_expiry_seconds=_NEVER,
                )
            ),
            "tracker": lambda name, _at, http: Tracker(TrackerSettings(name=name, http=http, cluster=cluster)),
            "proxy": lambda name, at, http: Proxy(
                ProxySettings(name=name, data=at, http=http, cluster=cluster, push=PushSettings(renew_seconds=RENEW))
            ),
            "agent": lambda name, at, http: Agent(
                AgentSettings(name=name, data=at, http=http, cluster=cluster, cache=ROOMY, confirm_seconds=0)
            ),
        }
        self._data = data

    def address(self, name: str) -> Address:
        return self._listens[name]

    def is_up(self, name: str) -> bool:
        return name in self._running

    @property
    def is_whole(self) -> bool:
        """Whether no origin and no index node is away."""
        return all(map(self.is_up, (*ORIGINS, *INDEXES)))

    async def links(self, ask: Callable[[], Awaitable[dict[Digest, Link]]]) -> dict[Digest, Link]:
        """What `ask` gives."""
        try:
            return await ask()
        except Unavailable:
            self.unanswered += self.is_whole
            raise

    async def start(self, name: str) -> None:
        """Start a member on its data."""
        listen = HttpSettings(listen=self._listens[name], drain_seconds=1.0)
        component = self._make[name.partition("-")[0]](name, self._data / name, listen)
        await component.start()
        self._running[name] = component

    async def stop(self, name: str) -> None:
        """Stop a member, after what is still on its way to it has arrived."""
        await self.settle()
        await self._running.pop(name).stop()

    async def settle(self) -> None:
        """Wait for the writes that were acknowledged by enough nodes, and are on their way to the others."""
        clients = [it._index_client for it in self._running.values() if isinstance(it, Proxy)]
        clients += [it._names for it in self._running.values() if isinstance(it, Index)]
        for client in clients:
            await asyncio.gather(*client._quorum._lingering, return_exceptions=True)

    def holders(self, digest: Digest) -> list[str]:
        """The origins that have a blob."""
        return [
            name
            for name, origin in self._running.items()
            if isinstance(origin, Origin) and digest in {it.digest for it in origin.blobs.digests()}
        ]

    def now(self) -> datetime:
        """The time that all members see."""
        return datetime.now(UTC) + timedelta(seconds=self.moved)


@asynccontextmanager
async def registry_world(data: Path, *, untagged: bool) -> AsyncIterator[tuple[RegistryWorld, aiohttp.ClientSession]]:
    """The cluster, running, and a client that uses each connection once."""
    world = RegistryWorld(data, untagged=untagged)
    connector = aiohttp.TCPConnector(force_close=True)
    links = IndexClient.links

    async def watched(client: IndexClient, *asked: Any) -> dict[Digest, Link]:
        return await world.links(lambda: links(client, *asked))

    with (
        patch.object(SystemClock, "wall", lambda _clock: world.now()),
        patch.object(IndexClient, "links", watched),
    ):
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as client:
            try:
                for name in (*INDEXES, *ORIGINS, "tracker", *PROXIES, AGENT):
                    await world.start(name)
                yield world, client
            finally:
                for name in (AGENT, *PROXIES, "tracker", *ORIGINS, *INDEXES):
                    if world.is_up(name):
                        await world.stop(name)
