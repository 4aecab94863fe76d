"""Bodies of requests on their way through the proxy. Nothing is gathered: a chunk is passed on as it came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from aiohttp import web

from kraken.core.errors import Unavailable
from kraken.core.pieces import MAX_BLOB_SIZE
from kraken.oci.errors import Code, RegistryError
from kraken.runtime.web import body_chunks

T = TypeVar("T")

Sending = Callable[[AsyncIterator[bytes]], Awaitable[T]]
"""Something that takes all chunks and then has a result."""


class UploadBody:
    """The body of an upload request, counted as it passes.

    Args: idle_seconds, the longest wait for the client; stall_seconds, the longest wait for whoever takes the
    bytes; limit, how many bytes there may be.
    """

    def __init__(
        self, request: web.Request, idle_seconds: float, stall_seconds: float, limit: int = MAX_BLOB_SIZE
    ) -> None:
        self._request = request
        self._idle_seconds = idle_seconds
        self._stall_seconds = stall_seconds
        self._limit = limit
        self.received = 0

    async def send(self, sending: Sending[T]) -> T:
        """What `sending` makes of the body.

        Raises: Rejected, when the client stalls or breaks off; RegistryError, when it sends too much;
        Unavailable, when `sending` takes nothing for too long; and what `sending` raises.
        """
        try:
            async with asyncio.timeout(self._stall_seconds) as deadline:
                return await sending(self._chunks(deadline))
        except TimeoutError as error:
            raise Unavailable(f"an origin took no byte of an upload for {self._stall_seconds:g} seconds") from error

    async def _chunks(self, deadline: asyncio.Timeout) -> AsyncIterator[bytes]:
        now = asyncio.get_running_loop().time
        deadline.reschedule(None)  # waiting for the client is not the receiver's fault; that wait has its own limit
        async for chunk in body_chunks(self._request, self._idle_seconds):
            self.received += len(chunk)
            if self.received > self._limit:
                raise RegistryError(Code.SIZE_INVALID, f"the body is longer than {self._limit} bytes")
            deadline.reschedule(now() + self._stall_seconds)
            yield chunk
            deadline.reschedule(None)
        deadline.reschedule(now() + self._stall_seconds)


async def whole_body(request: web.Request, idle_seconds: float, limit: int) -> bytes | None:
    """A body that is known to be small; None when it is longer than `limit`.

    Raises: Rejected, when it stalls or breaks off.
    """
    if request.content_length is not None and request.content_length > limit:
        return None
    parts: list[bytes] = []
    received = 0
    async for chunk in body_chunks(request, idle_seconds):
        received += len(chunk)
        if received > limit:
            return None
        parts.append(chunk)
    return b"".join(parts)
