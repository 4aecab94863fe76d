"""What an agent does for the container runtime: the read side of a registry, over cache and swarm."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from aiohttp import web

from kraken.agent.cache import BlobCache, BlobReader
from kraken.agent.contents import RepositoryContents
from kraken.agent.known_manifests import KnownManifests
from kraken.agent.pull_record import PullRecord
from kraken.core.digest import Digest
from kraken.core.errors import Corrupt, Invalid, Unavailable
from kraken.core.pieces import ByteRange
from kraken.index.client import IndexClient
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.oci.io.ports import BlobAnswer
from kraken.oci.manifests import MAX_MANIFEST_BYTES, ManifestRecord, parse_manifest
from kraken.oci.pages import NamePage, PageRequest
from kraken.oci.recent_manifests import RecentManifests
from kraken.oci.references import Reference, RepositoryName
from kraken.oci.referrers import Referrer
from kraken.runtime.bandwidth import Bandwidth
from kraken.runtime.clock import Clock
from kraken.storage.io.http_body import send_blob


class AgentReads:
    """`RegistryReads` of an agent."""

    def __init__(
        self,
        cache: BlobCache,
        known: KnownManifests,
        contents: RepositoryContents,
        index: IndexClient,
        sent: Bandwidth,
        clock: Clock,
        log: Log,
        metrics: Metrics,
    ) -> None:
        """Args: sent, the limit that blobs to other hosts are counted against."""
        self._sent = sent
        self._cache = cache
        self._known = known
        self._contents = contents
        self._index = index
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._recent = RecentManifests()

    async def resolve(self, repository: RepositoryName, reference: Reference) -> ManifestRecord:
        """As the index says; where it cannot be asked, as it last said.

        What a digest means never changes, so the index is asked now and then only, whether the repository still has it.
        """
        known = await self._known.get(repository, reference)
        if known is not None and isinstance(reference, Digest) and self._contents.is_confirmed(repository, reference):
            return known
        try:
            record = await self._index.resolve(repository, reference)
        except Unavailable as error:
            if known is None:
                raise
            about = {"repository": str(repository), "tag": str(reference), "digest": str(known.digest)}
            self._log.warning(Event.TAG_SERVED_STALE, **about, error=str(error))
            return known
        if record != known:
            await self._known.put(repository, reference, record)
        self._contents.confirm(repository, [record.digest])
        return record

    async def manifest_bytes(self, repository: RepositoryName, record: ManifestRecord) -> bytes:
        """The manifest, fetched like any other blob."""
        if record.size > MAX_MANIFEST_BYTES:
            raise Corrupt(f"the index says that the manifest {record.digest} has {record.size} bytes")
        with self._record("manifest", repository, record.digest) as pull:
            data = self._recent.get(record.digest)
            if data is not None:
                pull.sent_from_memory(len(data))
            else:
                data = await self._manifest_from_cache(record, pull)
        self._look_ahead(repository, record, data)
        return data

    async def blob_size(self, repository: RepositoryName, digest: Digest) -> int:
        await self._contents.check_blob(repository, digest)
        return await self._cache.size(digest)

    async def blob_response(
        self, request: web.Request, repository: RepositoryName, digest: Digest, answer: BlobAnswer
    ) -> web.StreamResponse:
        """Bytes go to the client as soon as they are verified and in order, while the rest still arrives."""
        response = answer.response()
        with self._record("blob", repository, digest) as pull:
            async with self._cache.reader(digest, part=answer.span.length < answer.size) as reader:
                await send_blob(request, response, pull.watching(reader), answer.span, self._sent)
        return response

    async def tags(self, repository: RepositoryName, page: PageRequest) -> NamePage:
        return await self._index.tags(repository, page)

    async def referrers(self, repository: RepositoryName, subject: Digest) -> Sequence[Referrer]:
        return await self._index.referrers(repository, subject)

    async def repositories(self, page: PageRequest) -> NamePage:
        return await self._index.repositories(page)

    async def _manifest_from_cache(self, record: ManifestRecord, pull: PullRecord) -> bytes:
        async with self._cache.reader(record.digest) as reader:
            if reader.blob.size != record.size:
                raise Corrupt(f"the index says {record.size} bytes, the manifest {record.digest} has others")
            data = await _read_all(reader)
            pull.sent(reader, ByteRange(0, len(data)))
        self._recent.keep(record.digest, data)
        return data

    def _look_ahead(self, repository: RepositoryName, record: ManifestRecord, data: bytes) -> None:
        """What a repository's manifest names may be read there, while the manifest itself may; and soon will be."""
        if self._contents.is_confirmed(repository, record.digest):
            with suppress(Invalid):
                manifest = parse_manifest(data, record.media_type)
                self._contents.confirm(repository, (it.digest for it in (*manifest.blobs, *manifest.children)))
                self._cache.prefetch([it.digest for it in manifest.blobs])

    def _record(self, kind: str, repository: RepositoryName, digest: Digest) -> PullRecord:
        return PullRecord(kind, repository, digest, self._clock, self._log, self._metrics)


async def _read_all(reader: BlobReader) -> bytes:
    at, size = 0, reader.blob.size
    while at < size:
        at = await reader.available(at, size)
    return await reader.blob.read(0, size)
