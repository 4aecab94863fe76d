"""What the status of an answer means, in errors of ours."""

from __future__ import annotations

from typing import Final

import aiohttp
import msgspec

from kraken.core.errors import KrakenError, NotFound, Rejected, Unavailable
from kraken.runtime.clock import Clock
from kraken.upstream.errors import Denied, Throttled, Unreachable
from kraken.upstream.io.web import read
from kraken.upstream.retry_after import retry_after_seconds

MAX_ERROR_BYTES: Final = 16 * 1024

_MAX_REASON: Final = 300
_DEFAULT_WAIT_SECONDS: Final = 10.0
"""For a 429 that does not say how long."""

_ABSENT: Final = frozenset({404, 410})
_DENIED: Final = frozenset({401, 403})
_DOWN: Final = frozenset({502, 503, 504})
"""Somebody in front of the upstream got no answer from it either."""


async def failure_of(response: aiohttp.ClientResponse, what: str, clock: Clock, *, from_home: bool) -> KrakenError:
    """The error that an answer stands for; its body is read, as far as it says why, and it is closed.

    Args: what, the request in words; from_home, whether the upstream itself answered, or someone it sent us to.
    """
    async with response:
        status = response.status
        why = f"{what}: HTTP status {status}{await _reason(response)}"
        wait = retry_after_seconds(response.headers.get("Retry-After"), clock.wall())
    if status in _ABSENT:
        return NotFound(why)
    if status == 429 or (status == 503 and wait is not None):
        return Throttled(why, retry_after=_DEFAULT_WAIT_SECONDS if wait is None else wait)
    if status in _DENIED:
        return Denied(why) if from_home else Unreachable(why)  # a signed URL that expired, for example
    if status in _DOWN or status < 400:
        return Unreachable(why)
    if status >= 500 or status == 408:
        return Unavailable(why)
    return Rejected(why)


async def _reason(response: aiohttp.ClientResponse) -> str:
    """What the body says, as registries and token servers write it; nothing when it cannot be read."""
    try:
        body = msgspec.json.decode(await read(response, MAX_ERROR_BYTES), type=_ErrorBody)
    except (Unavailable, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    parts = [part for error in body.errors[:1] for part in (error.code, error.message)] or [body.details or ""]
    text = " ".join("".join(letter for letter in part if letter.isprintable()) for part in parts if part)
    return f", {text[:_MAX_REASON]}" if text else ""


class _ErrorEntry(msgspec.Struct):
    code: str | None = None
    message: str | None = None


class _ErrorBody(msgspec.Struct):
    errors: list[_ErrorEntry] = []
    details: str | None = None
