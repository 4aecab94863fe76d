"""The HTTP client between components: bounded, with deadlines, and with the errors of the other side."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
import msgspec
from yarl import URL

from kraken.core.errors import Unavailable
from kraken.core.peers import Address
from kraken.core.pieces import KIB, MIB
from kraken.core.settings import Unit, setting
from kraken.runtime.web_errors import MAX_ERROR_BYTES, error_from

T = TypeVar("T")

Params = Mapping[str, str | int]
Data = bytes | AsyncIterator[bytes]

MAX_ANSWER_BYTES = 64 * MIB
"""Of an answer that is read whole, unless the caller says otherwise."""

_READ_BUFFER = 256 * KIB


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How this component speaks to the others."""

    connect_seconds: float = setting(
        3.0, unit=Unit.SECONDS, low=0.01, meaning="A connection that is not open within this time has failed."
    )
    idle_seconds: float = setting(
        30.0, unit=Unit.SECONDS, low=0.01, meaning="An answer that brings no byte for this long has failed."
    )
    keepalive_seconds: float = setting(
        30.0, unit=Unit.SECONDS, low=0, meaning="How long an idle connection is kept; below http.keepalive_seconds."
    )
    max_connections: int = setting(1024, low=1, meaning="Connections open at once to all other components together.")
    max_connections_per_host: int = setting(256, low=1, meaning="Connections open at once to one other component.")


class NoAnswer(Unavailable):
    """Nobody answered: the connection failed, broke or was silent. Somebody else may know."""


class HttpClient:
    """Requests to other components.

    Every error status is raised as the core error it was on the other side; a connection that fails or
    times out is `Unavailable`, and its message names the address.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def json(
        self,
        method: str,
        address: Address,
        path: str,
        *,
        params: Params | None = None,
        body: object = None,
        into: type[T],
    ) -> T:
        """The JSON answer as a value of type `into`.

        Args: body, anything that msgspec encodes as JSON; None sends no body.
        """
        data = None if body is None else msgspec.json.encode(body)
        headers = None if data is None else {"Content-Type": "application/json"}
        answer = await self.bytes(method, address, path, params=params, data=data, headers=headers)
        try:
            return msgspec.json.decode(answer, type=into)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unavailable(f"{address}{path} answered something unexpected: {error}") from error

    async def bytes(
        self,
        method: str,
        address: Address,
        path: str,
        *,
        params: Params | None = None,
        data: Data | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> bytes:
        """The whole answer, of at most `max_bytes`; a longer one is Unavailable."""
        async with self.stream(method, address, path, params=params, data=data, headers=headers) as response:
            return await _read(response, max_bytes, f"{address}{path}")

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        address: Address,
        path: str,
        *,
        params: Params | None = None,
        data: Data | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful answer whose body the caller reads, by `response.content`.

        Args: path, not percent-encoded; data, sent as it comes. An exception of `data` itself reaches the
        caller unchanged: a client that breaks off its upload is not the other component's failure.
        Raises: see the class; failures while the body is read are translated as well.
        """
        url = URL.build(scheme="http", host=address.bare_host, port=address.port, path=path, query=params or {})
        source = data if data is None or isinstance(data, bytes | bytearray | memoryview) else _Source(data)
        try:
            async with self._open().request(
                method, url, data=source, headers=headers, allow_redirects=False, chunked=_chunked(source, headers)
            ) as response:
                if response.status >= 300:
                    body = await _read(response, MAX_ERROR_BYTES, f"{address}{path}")
                    raise error_from(response.status, body, f"{address}{path}")
                yield response
        except aiohttp.ClientError as error:
            if isinstance(source, _Source) and source.failure is not None:
                raise source.failure from error
            raise NoAnswer(f"{address}: {_reason(error)}") from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            settings = self._settings
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=settings.max_connections,
                    limit_per_host=settings.max_connections_per_host,
                    keepalive_timeout=settings.keepalive_seconds,
                ),
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    connect=None,
                    sock_connect=settings.connect_seconds,
                    sock_read=settings.idle_seconds,
                ),
                auto_decompress=False,
                read_bufsize=_READ_BUFFER,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "kraken", "Accept-Encoding": "identity"},
            )
        return self._session


class _Source:
    """A body to send, which remembers how its source failed."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self.failure: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._chunks:
                yield chunk
        except Exception as error:
            self.failure = error
            raise


def _chunked(source: object, headers: Mapping[str, str] | None) -> bool | None:
    """Whether the body's length is unknown: then, and only then, it is sent in chunks."""
    if not isinstance(source, _Source) or (headers is not None and "Content-Length" in headers):
        return None
    return True


async def _read(response: aiohttp.ClientResponse, max_bytes: int, where: str) -> bytes:
    parts: list[bytes] = []
    received = 0
    async for chunk in response.content.iter_any():
        received += len(chunk)
        if received > max_bytes:
            raise Unavailable(f"{where} answered more than {max_bytes} bytes")
        parts.append(chunk)
    return b"".join(parts)


def _reason(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return f"cannot connect: {os.strerror(number) if number and number > 0 else error.os_error}"
    if isinstance(error, aiohttp.ServerTimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
