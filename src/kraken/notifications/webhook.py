"""One POST to a webhook."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Protocol

import aiohttp

from kraken.core.errors import Unavailable
from kraken.notifications.envelope import MEDIA_TYPE
from kraken.notifications.settings import EndpointSettings, header_of


class Post(Protocol):
    """Sends a body. Returns: the status of the answer. Raises: Unavailable, when there is none."""

    async def __call__(self, body: bytes, headers: Mapping[str, str]) -> int: ...


class Webhook:
    """The `Post` of an endpoint. Redirects are answers like others, and never followed."""

    def __init__(self, endpoint: EndpointSettings, session: aiohttp.ClientSession) -> None:
        self._url = endpoint.url
        self._headers = dict(map(header_of, endpoint.headers)) | {"Content-Type": MEDIA_TYPE}
        self._seconds = endpoint.timeout_seconds
        self._session = session

    async def __call__(self, body: bytes, headers: Mapping[str, str]) -> int:
        timeout = aiohttp.ClientTimeout(total=self._seconds)
        try:
            async with self._session.post(
                self._url, data=body, headers=self._headers | dict(headers), timeout=timeout, allow_redirects=False
            ) as response:
                return response.status
        except TimeoutError as error:
            raise Unavailable(f"no answer within {self._seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(_reason(error)) from error


def new_session() -> aiohttp.ClientSession:
    """The session that all webhooks share. Each has at most one request under way."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "kraken"},
    )


def _reason(error: aiohttp.ClientError | OSError) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return f"cannot connect: {os.strerror(number) if number and number > 0 else error.os_error}"
    return str(error) or type(error).__name__
