"""Sends blobs to other origins over HTTP, from the disk and in steps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from kraken.core.errors import NotFound, Unavailable
from kraken.core.metainfo import Metainfo
from kraken.core.peers import Address
from kraken.core.pieces import MIB
from kraken.origin.messages import SMALL_BYTES
from kraken.runtime.bandwidth import Bandwidth
from kraken.runtime.web_client import HttpClient
from kraken.storage.io.blob_file import BlobFile
from kraken.storage.ports import BlobStore

_STEP: Final = MIB


class HttpReplicaSender:
    """A `ReplicaSender`: asks first, and sends only what the other side does not have; the small it just sends."""

    def __init__(self, http: HttpClient, blobs: BlobStore, stall_seconds: float, sent: Bandwidth) -> None:
        """Args: sent, the limit that copies are counted against."""
        self._sent = sent
        self._http = http
        self._blobs = blobs
        self._stall_seconds = stall_seconds

    async def send(self, host: Address, metainfo: Metainfo) -> None:
        if metainfo.size > SMALL_BYTES and await self._has(host, metainfo):
            return
        with await self._blobs.open(metainfo.digest) as blob:
            try:
                async with asyncio.timeout(self._stall_seconds) as deadline:
                    await self._http.bytes(
                        "PUT",
                        host,
                        f"/replicas/{metainfo.digest}",
                        data=self._sent.paced(self._steps(blob, deadline)),
                        headers={"Content-Length": str(blob.size)},
                    )
            except TimeoutError as error:
                raise Unavailable(f"{host} took no byte for {self._stall_seconds:g} seconds") from error

    async def _has(self, host: Address, metainfo: Metainfo) -> bool:
        try:
            async with self._http.stream("HEAD", host, f"/blobs/{metainfo.digest}") as answer:
                return answer.headers.get("Content-Length") == str(metainfo.size)
        except NotFound:
            return False

    async def _steps(self, blob: BlobFile, deadline: asyncio.Timeout) -> AsyncIterator[bytes]:
        """The bytes of a blob. Each step that leaves moves the deadline; after the last one only the answer lacks."""
        now = asyncio.get_running_loop().time
        for start in range(0, blob.size, _STEP):
            yield await blob.read(start, min(_STEP, blob.size - start))
            deadline.reschedule(now() + self._stall_seconds)
        deadline.reschedule(None)  # the client's own deadline for an answer holds from here on
