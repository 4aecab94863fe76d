"""A client of an upstream as tests drive it: its time is the test's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from tests.helpers.blobs import ManualClock, a_blob
from tests.helpers.registry import an_image
from tests.helpers.scripted_site import Site

from kraken.core.digest import Digest
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.oci.references import RepositoryName, Tag
from kraken.runtime.threads import FileThreads
from kraken.upstream.io.client import UpstreamRegistry
from kraken.upstream.resuming import Progress
from kraken.upstream.settings import UpstreamSettings

NAME = "registry.example"
APP, OTHER = RepositoryName("team/app"), RepositoryName("team/other")
LATEST = Tag("latest")
IMAGE = an_image(b"layer")
BLOB = a_blob(pieces=40)


class Client:
    """A client of one registry. Its clock moves when it sleeps, and `slept` is for how long each time."""

    def __init__(self, settings: UpstreamSettings, threads: FileThreads) -> None:
        self.clock = ManualClock()
        self.metrics = Metrics("test", "client")
        self.slept: list[float] = []
        log = get_logger("test", "client")
        self.registry = UpstreamRegistry(settings, threads, self.clock, log, self.metrics, self._sleep)

    async def blob(self, digest: Digest, progress: Progress | None = None) -> bytes:
        return b"".join([chunk async for chunk in self.registry.stream_blob(APP, digest, progress)])

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.move(seconds)


@asynccontextmanager
async def client_of(site: Site, **settings: object) -> AsyncIterator[Client]:
    threads = FileThreads(1)
    client = Client(replace(UpstreamSettings(NAME, url=site.url), **settings), threads)  # type: ignore[arg-type] # any
    try:
        yield client
    finally:
        await client.registry.close()
        threads.close()
