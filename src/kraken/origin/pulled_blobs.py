"""What is pulled from upstreams, kept by an origin's own stores: an upload like any other."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Protocol

from kraken.core.digest import Digest
from kraken.core.errors import Corrupt, NotFound
from kraken.core.metainfo import Metainfo
from kraken.storage.layout import session_id
from kraken.storage.ports import BlobStore, UploadStore


class Replicas(Protocol):
    """Copies blobs that landed here to their owners."""

    async def replicate(self, metainfo: Metainfo) -> int:
        """Return when enough owners hold it durably. Raises: Unavailable, when too few can be reached."""
        ...


class PulledBlobs:
    """The port `Blobs` of pull-through, over the stores of an origin."""

    def __init__(self, blobs: BlobStore, uploads: UploadStore, replicas: Replicas) -> None:
        self._blobs = blobs
        self._uploads = uploads
        self._replicas = replicas

    async def find(self, digest: Digest) -> Metainfo | None:
        try:
            with await self._blobs.open(digest) as blob:
                return blob.metainfo
        except NotFound:
            return None
        except Corrupt as error:
            await self._blobs.quarantine(digest, str(error))
            return None

    async def store(self, digest: Digest, chunks: AsyncIterator[bytes]) -> Metainfo:
        session = session_id(uuid.uuid4().hex)
        await self._uploads.begin(session)
        try:
            await self._uploads.append(session, 0, chunks)
            metainfo = await self._uploads.commit(session, digest)
        except BaseException:
            with suppress(NotFound):  # a wrong digest has ended it already
                await self._uploads.abandon(session)
            raise
        await self._replicas.replicate(metainfo)
        return metainfo

    async def put(self, digest: Digest, data: bytes) -> Metainfo:
        return await self.store(digest, _one(data))


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data
