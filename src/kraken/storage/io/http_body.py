"""An HTTP answer made of a blob's bytes: straight from file to socket, and never a byte of a bad piece."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import IO, Final, Protocol, cast

from aiohttp import web

from kraken.core.errors import Corrupt
from kraken.core.pieces import MIB, ByteRange
from kraken.runtime.bandwidth import Bandwidth
from kraken.storage.io.blob_file import BlobFile

_SENT_AT_ONCE: Final = 8 * MIB
"""Bytes given to the kernel in one call, as far as pieces are verified."""


class Source(Protocol):
    """A blob of which bytes become servable as time goes on."""

    @property
    def blob(self) -> BlobFile: ...

    async def available(self, start: int, stop: int) -> int:
        """Wait until byte `start` may be served. Returns: the offset, above it, up to which bytes may be."""
        ...


class CompleteBlob:
    """A blob that is all here. A bad piece in it raises Corrupt."""

    def __init__(self, blob: BlobFile) -> None:
        self.blob = blob

    async def available(self, start: int, stop: int) -> int:
        ready = await self.blob.verified_up_to(start, stop)
        if ready == start:
            raise Corrupt(f"{self.blob.metainfo.digest} has a bad piece at byte {start}")
        return ready


async def send_blob(
    request: web.Request, response: web.StreamResponse, source: Source, span: ByteRange, sent: Bandwidth
) -> None:
    """Prepare `response` and send these bytes of a blob as its body.

    The caller has set status and headers, `Content-Length` among them. Sending is the kernel's `sendfile`:
    0.12 CPU s per GB. What is sent was verified, by `source`, before any byte of it leaves.

    Args: sent, the limit that bytes to other hosts are counted against.
    Raises: what `source` raises: before the first byte `response` is not prepared and another answer can be
    given; later the connection must be cut. ConnectionError, when the client is gone.
    """
    at = span.start
    link = None if _is_local(request) else sent
    ready = await _ready(source, at, span.stop)
    await response.prepare(request)
    descriptor = cast("IO[bytes]", _Descriptor(source.blob.fd))  # the loop asks for no more than fileno()
    while at < span.stop:
        if ready == at:
            ready = await _ready(source, at, span.stop)
        if request.transport is None:
            raise ConnectionResetError("the client is gone")
        count = ready - at if link is None else await link.acquire(ready - at)
        await asyncio.get_running_loop().sendfile(request.transport, descriptor, at, count)
        at += count
    await response.write_eof()


def _is_local(request: web.Request) -> bool:
    """Whether the client is on this machine: what goes there does not use the link."""
    return request.remote is not None and ipaddress.ip_address(request.remote.partition("%")[0]).is_loopback


async def _ready(source: Source, at: int, stop: int) -> int:
    """Up to where to send from `at` in one go."""
    return await source.available(at, min(stop, at + _SENT_AT_ONCE)) if at < stop else at


class _Descriptor:
    """A file as `loop.sendfile` wants it."""

    mode = "rb"

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd
