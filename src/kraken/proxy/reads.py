"""Reads through a proxy: names from the index nodes, bytes from the origins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import cast

from aiohttp import web

from kraken.core.digest import Digest
from kraken.core.errors import Corrupt, NotFound
from kraken.core.pieces import ByteRange
from kraken.index.client import IndexClient
from kraken.observability.events import Event
from kraken.oci.io.ports import BlobAnswer
from kraken.oci.manifests import MAX_MANIFEST_BYTES, ManifestRecord
from kraken.oci.pages import NamePage, PageRequest
from kraken.oci.recent_manifests import RecentManifests
from kraken.oci.references import Reference, RepositoryName
from kraken.oci.referrers import Referrer
from kraken.origin.client import OriginClient
from kraken.proxy.observers import Observers


class ProxyReads:
    """Reads of a registry from the origins and the index.

    Args: renew_seconds, a blob that is asked for has its link renewed when that is older: who is told that a blob is
    there will not upload it, and must find it when the manifest follows.
    """

    def __init__(self, origins: OriginClient, indexes: IndexClient, observers: Observers, renew_seconds: float) -> None:
        self._renew_seconds = renew_seconds
        self._origins = origins
        self._indexes = indexes
        self._log = observers.log
        self._metrics = observers.metrics
        self._clock = observers.clock
        self._recent = RecentManifests()

    async def resolve(self, repository: RepositoryName, reference: Reference) -> ManifestRecord:
        return await self._indexes.resolve(repository, reference)

    async def manifest_bytes(self, _repository: RepositoryName, record: ManifestRecord) -> bytes:
        if record.size > MAX_MANIFEST_BYTES:
            raise Corrupt(f"the index says that the manifest {record.digest} has {record.size} bytes")
        data = self._recent.get(record.digest) or await self._manifest_from_origins(record)
        self._count_pull("ok", len(data))
        return data

    async def blob_size(self, repository: RepositoryName, digest: Digest) -> int:
        links, size = await asyncio.gather(
            self._indexes.links(repository, [digest]), self._origins.size(digest), return_exceptions=True
        )
        if isinstance(links, BaseException):
            raise links
        if digest not in links:
            raise NotFound(f"{repository} has no blob {digest}")
        if isinstance(size, BaseException):
            raise size
        if self._clock.wall().timestamp() - links[digest].version.milliseconds / 1000 > self._renew_seconds:
            await self._indexes.link(repository, {digest: size})
        return size

    async def blob_response(
        self, request: web.Request, repository: RepositoryName, digest: Digest, answer: BlobAnswer
    ) -> web.StreamResponse:
        begun = self._clock.now()
        async with aclosing(self._bytes_of(digest, answer.span)) as chunks:
            first = await anext(chunks, b"")  # what fails up to here can still be told to the client
            response = answer.response()
            sent, result = 0, "cut"
            try:
                await response.prepare(request)
                self._metrics.first_byte_seconds.observe(self._clock.now() - begun)
                await response.write(first)
                sent = len(first)
                async for chunk in chunks:
                    await response.write(chunk)
                    sent += len(chunk)
                await response.write_eof()
                result = "ok"
            finally:
                self._count_pull(result, sent)
                self._log.info(
                    Event.PULL_FINISHED if result == "ok" else Event.PULL_FAILED,
                    repository=str(repository),
                    digest=str(digest),
                    bytes=sent,
                    seconds=round(self._clock.now() - begun, 3),
                    from_cache=0,
                    from_peers=0,
                    from_origins=sent,
                )
        return response

    async def tags(self, repository: RepositoryName, page: PageRequest) -> NamePage:
        return await self._indexes.tags(repository, page)

    async def referrers(self, repository: RepositoryName, subject: Digest) -> Sequence[Referrer]:
        return await self._indexes.referrers(repository, subject)

    async def repositories(self, page: PageRequest) -> NamePage:
        return await self._indexes.repositories(page)

    async def _manifest_from_origins(self, record: ManifestRecord) -> bytes:
        async with aclosing(self._bytes_of(record.digest, ByteRange(0, record.size))) as chunks:
            data = b"".join([chunk async for chunk in chunks])
        if Digest.of(data, record.digest.algorithm) != record.digest:
            raise Corrupt(f"what the origins have as manifest {record.digest} is not that")
        self._recent.keep(record.digest, data)
        return data

    def _bytes_of(self, digest: Digest, span: ByteRange) -> AsyncGenerator[bytes, None]:
        # A generator it is, and it must be closed when a client goes away: it holds a connection.
        return cast("AsyncGenerator[bytes, None]", self._origins.stream(digest, span))

    def _count_pull(self, result: str, sent: int) -> None:
        self._metrics.pulls.labels(result=result).inc()
        self._metrics.pull_bytes.labels(source="origins").inc(sent)
