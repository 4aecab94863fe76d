"""Uploads: bytes go to the origins as they come, and the blob that they make is linked to its repository."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable

from kraken.core.digest import Digest
from kraken.core.errors import KrakenError, NotFound
from kraken.index.client import IndexClient
from kraken.observability.events import Event
from kraken.oci.references import RepositoryName
from kraken.oci.sessions import SessionId
from kraken.origin.client import OriginClient
from kraken.origin.messages import CommitAnswer
from kraken.proxy.bodies import UploadBody
from kraken.proxy.observers import Observers

_STARTS_REMEMBERED = 16384


class Uploads:
    """Upload sessions. Their bytes and their state are at the origins, so any proxy can go on with any session."""

    def __init__(self, origins: OriginClient, indexes: IndexClient, observers: Observers) -> None:
        self._origins = origins
        self._indexes = indexes
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

    async def commit(
        self,
        repository: RepositoryName,
        session: SessionId,
        digest: Digest,
        last: bytes | None = None,
        offset: int | None = None,
    ) -> int:
        """Make the bytes of a session a blob of a repository, durable at enough origins.

        Args: last, what is to be appended before that; offset, where the client believes it belongs.
        Returns: bytes of the blob.
        Raises: NotFound; OffsetMismatch; Rejected, when they have another digest; OutOfSpace; Unavailable.
        """
        begun = self._begun.get(session, self._clock.now())
        self._metrics.push_bytes.inc(len(last or b""))
        size = await self._finish(repository, digest, self._origins.commit(str(session), digest, last, offset), begun)
        self._begun.pop(session, None)
        return size

    async def put(self, repository: RepositoryName, digest: Digest, data: bytes) -> None:
        """Make bytes that are at hand a blob of a repository. Raises as `commit` does."""
        self._metrics.push_bytes.inc(len(data))
        await self._finish(repository, digest, self._origins.put_blob(digest, data), self._clock.now())

    async def _finish(
        self, repository: RepositoryName, digest: Digest, storing: Awaitable[CommitAnswer], begun: float
    ) -> int:
        result = "failed"
        try:
            committed = await storing
            await self._indexes.link(repository, {digest: committed.size})
            result = "ok"
        except KrakenError as error:
            self._log.info(Event.PUSH_FAILED, repository=str(repository), digest=str(digest), error=str(error))
            raise
        finally:
            self._metrics.pushes.labels(kind="blob", result=result).inc()
        self._log.info(
            Event.PUSH_FINISHED,
            repository=str(repository),
            digest=str(digest),
            bytes=committed.size,
            seconds=round(self._clock.now() - begun, 3),
            replicas=committed.replicas,
        )
        return committed.size

    async def abandon(self, session: SessionId) -> None:
        """Drop a session and its bytes. Raises: NotFound."""
        self._begun.pop(session, None)
        await self._origins.abandon(str(session))

    async def mount(self, repository: RepositoryName, digest: Digest, source: RepositoryName | None) -> int | None:
        """Let a repository have a blob that another one has.

        Args: source, that other one; None for any.
        Returns: bytes of the blob; None when it is not there and has to be uploaded.
        Raises: Unavailable.
        """
        if source is None:
            is_there = digest in await self._indexes.used([digest])
        else:
            is_there = digest in await self._indexes.links(source, [digest])
        try:
            size = await self._origins.size(digest) if is_there else None
        except NotFound:
            size = None  # lost, perhaps; a new upload heals it
        if size is None:
            return None
        await self._indexes.link(repository, {digest: size})
        self._log.info(Event.BLOB_MOUNTED, repository=str(repository), digest=str(digest))
        return size
