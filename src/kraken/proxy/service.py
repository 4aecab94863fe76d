"""What a proxy does: uploads go to the origins as they come, manifests are checked and made known to the index."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from aiohttp import web

from kraken.core.digest import Digest
from kraken.core.errors import Corrupt, Invalid, KrakenError, NotFound
from kraken.core.pieces import ByteRange
from kraken.index.client import IndexClient
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.oci.errors import Code, Problem, RegistryError
from kraken.oci.io.ports import BlobAnswer
from kraken.oci.manifests import MAX_MANIFEST_BYTES, Manifest, ManifestRecord, parse_manifest
from kraken.oci.pages import NamePage, PageRequest
from kraken.oci.references import Reference, RepositoryName, Tag
from kraken.oci.referrers import About, Referrer
from kraken.oci.sessions import SessionId
from kraken.origin.client import OriginClient
from kraken.proxy.bodies import UploadBody
from kraken.runtime.clock import Clock

_STARTS_REMEMBERED = 16384


@dataclass(frozen=True, slots=True)
class Observers:
    """What sees the work: log, metrics and clock."""

    log: Log
    metrics: Metrics
    clock: Clock


class Uploads:
    """Upload sessions. Their bytes and their state are at the origins, so any proxy can go on with any session."""

    def __init__(self, origins: OriginClient, observers: Observers) -> None:
        self._origins = origins
        self._log = observers.log
        self._metrics = observers.metrics
        self._clock = observers.clock
        self._begun: OrderedDict[SessionId, float] = OrderedDict()  # only for the log: seconds of a push

    async def begin(self) -> SessionId:
        """A new session at an origin. Raises: Unavailable."""
        session = SessionId(self._origins.new_session())
        await self._origins.begin(str(session))
        self._begun[session] = self._clock.now()
        if len(self._begun) > _STARTS_REMEMBERED:
            self._begun.popitem(last=False)
        return session

    async def append(self, session: SessionId, body: UploadBody, offset: int | None) -> int:
        """Stream a body to the end of a session.

        Args: offset, where the client believes the end to be; None for wherever it is.
        Returns: the new end.
        """
        try:
            return await body.send(lambda chunks: self._origins.append(str(session), chunks, offset))
        finally:
            self._metrics.push_bytes.inc(body.received)

    async def offset(self, session: SessionId) -> int:
        """How many bytes have arrived."""
        return await self._origins.offset(str(session))

    async def commit(self, repository: RepositoryName, session: SessionId, digest: Digest) -> None:
        """Make the bytes of a session a blob, durable at enough origins.

        Raises: NotFound; Rejected, when they have another digest; OutOfSpace; Unavailable.
        """
        begun = self._begun.get(session, self._clock.now())
        result = "failed"
        try:
            committed = await self._origins.commit(str(session), digest)
            result = "ok"
        except KrakenError as error:
            self._log.info(Event.PUSH_FAILED, repository=str(repository), digest=str(digest), error=str(error))
            raise
        finally:
            self._metrics.pushes.labels(kind="blob", result=result).inc()
        self._begun.pop(session, None)
        self._log.info(
            Event.PUSH_FINISHED,
            repository=str(repository),
            digest=str(digest),
            bytes=committed.size,
            seconds=round(self._clock.now() - begun, 3),
            replicas=committed.replicas,
        )

    async def abandon(self, session: SessionId) -> None:
        """Drop a session and its bytes. Raises: NotFound."""
        self._begun.pop(session, None)
        await self._origins.abandon(str(session))

    async def exists(self, digest: Digest) -> bool:
        """Whether the origins have such a blob. Raises: Unavailable, when that cannot be known."""
        try:
            await self._origins.size(digest)
        except NotFound:
            return False
        return True


class Manifests:
    """Pushes of manifests."""

    def __init__(
        self, origins: OriginClient, indexes: IndexClient, observers: Observers, *, sparse_indexes: bool
    ) -> None:
        self._origins = origins
        self._indexes = indexes
        self._log = observers.log
        self._metrics = observers.metrics
        self._clock = observers.clock
        self._sparse_indexes = sparse_indexes

    async def put(
        self, repository: RepositoryName, data: bytes, content_type: str | None, digest: Digest, tags: Sequence[Tag]
    ) -> Manifest:
        """Store a manifest, and let `tags` mean it.

        Raises: RegistryError, when it is refused; OutOfSpace; Unavailable.
        """
        begun = self._clock.now()
        result = "failed"
        try:
            manifest = _parsed(data, content_type)
            await self._check_dependencies(repository, manifest)
            await self._origins.put_blob(digest, data)
            record = ManifestRecord(digest, manifest.media_type, len(data))
            await self._indexes.put_manifest(repository, record, tags, _about(manifest))
            result = "ok"
        except KrakenError as error:
            self._log.info(Event.PUSH_FAILED, repository=str(repository), digest=str(digest), error=str(error))
            raise
        finally:
            self._metrics.pushes.labels(kind="manifest", result=result).inc()
        self._metrics.push_bytes.inc(len(data))
        self._log.info(
            Event.PUSH_FINISHED,
            repository=str(repository),
            digest=str(digest),
            bytes=len(data),
            seconds=round(self._clock.now() - begun, 3),
            media_type=manifest.media_type,
        )
        for tag in tags:
            self._log.info(Event.TAG_WRITTEN, repository=str(repository), tag=str(tag), digest=str(digest))
        return manifest

    async def _check_dependencies(self, repository: RepositoryName, manifest: Manifest) -> None:
        """Refuse a manifest that could not be pulled whole. What its children need was checked when they came.

        Raises: RegistryError, with one problem for each that is missing.
        """
        blobs = list(dict.fromkeys(it.digest for it in manifest.blobs if not it.foreign))
        children = list(dict.fromkeys(it.digest for it in manifest.children))
        sizes = await self._origins.stat(blobs) if blobs else {}
        missing = [digest for digest in blobs if digest not in sizes]
        if children and not self._sparse_indexes:
            known = await self._indexes.known(repository, children)
            missing += [digest for digest in children if digest not in known]
        if missing:
            first, *more = (_missing(digest) for digest in missing)
            raise RegistryError(first.code, first.message, detail=first.detail, more=more)


class ProxyReads:
    """Reads of a registry from the origins and the index."""

    def __init__(self, origins: OriginClient, indexes: IndexClient, observers: Observers) -> None:
        self._origins = origins
        self._indexes = indexes
        self._log = observers.log
        self._metrics = observers.metrics
        self._clock = observers.clock

    async def resolve(self, repository: RepositoryName, reference: Reference) -> ManifestRecord:
        return await self._indexes.resolve(repository, reference)

    async def manifest_bytes(self, _repository: RepositoryName, record: ManifestRecord) -> bytes:
        if record.size > MAX_MANIFEST_BYTES:
            raise Corrupt(f"the index says that the manifest {record.digest} has {record.size} bytes")
        async with aclosing(self._bytes_of(record.digest, ByteRange(0, record.size))) as chunks:
            data = b"".join([chunk async for chunk in chunks])
        if Digest.of(data, record.digest.algorithm) != record.digest:
            raise Corrupt(f"what the origins have as manifest {record.digest} is not that")
        self._count_pull("ok", len(data))
        return data

    async def blob_size(self, _repository: RepositoryName, digest: Digest) -> int:
        return await self._origins.size(digest)

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

    def _bytes_of(self, digest: Digest, span: ByteRange) -> AsyncGenerator[bytes, None]:
        # A generator it is, and it must be closed when a client goes away: it holds a connection.
        return cast("AsyncGenerator[bytes, None]", self._origins.stream(digest, span))

    def _count_pull(self, result: str, sent: int) -> None:
        self._metrics.pulls.labels(result=result).inc()
        self._metrics.pull_bytes.labels(source="origins").inc(sent)


def _parsed(data: bytes, content_type: str | None) -> Manifest:
    try:
        return parse_manifest(data, content_type)
    except Invalid as error:
        raise RegistryError(Code.MANIFEST_INVALID, str(error)) from error


def _about(manifest: Manifest) -> About | None:
    if manifest.subject is None:
        return None
    return About(manifest.subject.digest, manifest.artifact_type, manifest.annotations)


def _missing(digest: Digest) -> Problem:
    return Problem(Code.MANIFEST_BLOB_UNKNOWN, f"{digest} has not been pushed", {"digest": str(digest)})
