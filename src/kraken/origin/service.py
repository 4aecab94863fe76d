"""What an origin does, over its stores and its replicator."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress

from kraken.core.digest import Digest
from kraken.core.errors import Corrupt, NotFound
from kraken.core.metainfo import Metainfo
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.origin.messages import MAX_INLINE_BYTES, CommitAnswer
from kraken.origin.replication import Replicator
from kraken.storage.io.blob_file import BlobFile
from kraken.storage.layout import SessionId, session_id
from kraken.storage.ports import BlobStore, UploadStore

Body = bytes | AsyncIterator[bytes]
"""A blob: whole where it is small, else as it comes."""


class OriginService:
    """The use cases of an origin."""

    def __init__(self, blobs: BlobStore, uploads: UploadStore, replicator: Replicator, log: Log) -> None:
        self.blobs = blobs
        self.uploads = uploads
        self._replicator = replicator
        self._log = log

    async def commit(self, session: SessionId, digest: Digest) -> CommitAnswer:
        """End an upload: its bytes become a blob, here and at enough of its owners.

        Raises: NotFound; Rejected, when the bytes have another digest; OutOfSpace; Unavailable, when too few
        owners could store it.
        """
        metainfo = await self.uploads.commit(session, digest)
        return await self._replicated(metainfo)

    async def put_blob(self, digest: Digest, body: Body) -> CommitAnswer:
        """Store a blob that comes as one body, here and at enough of its owners. Raises as `commit` does."""
        return await self._replicated(await self._stored(digest, body))

    async def put_replica(self, digest: Digest, body: Body) -> CommitAnswer:
        """Store a blob here only: it is a copy that another origin sends."""
        metainfo = await self._stored(digest, body)
        self._log.info(Event.REPLICA_STORED, digest=str(digest), bytes=metainfo.size)
        return CommitAnswer(str(digest), metainfo.size, replicas=1)

    async def metainfo(self, digest: Digest, *, with_content: bool) -> tuple[Metainfo, bytes | None]:
        """The metainfo of a blob, and its bytes when they were asked for and are few. Raises: NotFound; Corrupt."""
        with await self.blobs.open(digest) as blob:
            if not with_content or blob.size > MAX_INLINE_BYTES:
                return blob.metainfo, None
            return blob.metainfo, await self._whole(blob)

    async def sizes(self, digests: Iterable[Digest]) -> dict[str, int]:
        """The sizes of those blobs that are here."""
        found = {str(digest): await self.blobs.size(digest) for digest in digests}
        return {digest: size for digest, size in found.items() if size is not None}

    async def found_corrupt(self, digest: Digest, error: Corrupt) -> None:
        """A blob failed its check: it is set aside, so that its readers go to the other owners."""
        await self.blobs.quarantine(digest, str(error))

    async def _replicated(self, metainfo: Metainfo) -> CommitAnswer:
        replicas = await self._replicator.replicate(metainfo)
        self._log.info(Event.BLOB_STORED, digest=str(metainfo.digest), bytes=metainfo.size, replicas=replicas)
        return CommitAnswer(str(metainfo.digest), metainfo.size, replicas)

    async def _stored(self, digest: Digest, body: Body) -> Metainfo:
        if isinstance(body, bytes):
            return await self.blobs.put(digest, body)
        session = session_id(uuid.uuid4().hex)
        await self.uploads.begin(session)
        try:
            await self.uploads.append(session, 0, body)
            return await self.uploads.commit(session, digest)
        except BaseException:
            with suppress(NotFound):  # a wrong digest has ended it already
                await self.uploads.abandon(session)
            raise

    async def _whole(self, blob: BlobFile) -> bytes:
        for piece in blob.metainfo.pieces.indices():
            if not await blob.verify(piece):
                raise Corrupt(f"piece {piece} of {blob.metainfo.digest} does not have its hash")
        return await blob.read(0, blob.size)
