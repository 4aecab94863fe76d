"""How errors travel between components.

    HTTP/1.1 503 ...
    Retry-After: 1
    {"error": "Unavailable", "message": "...", "retry_after": 1.0}

One table gives each class its status, and each name its class: the client raises what the server raised.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
from aiohttp import web

from kraken.core.errors import (
    Corrupt,
    Invalid,
    KrakenError,
    NotFound,
    OffsetMismatch,
    OutOfSpace,
    PeerMisbehaved,
    Rejected,
    Unavailable,
)

MAX_ERROR_BYTES = 64 * 1024
"""A client reads no more than this of an error's body."""

FromWire = Callable[["ErrorBody"], KrakenError]


class ErrorBody(msgspec.Struct, omit_defaults=True):
    """The JSON body of an error."""

    error: str
    message: str
    retry_after: float | None = None
    offset: int | None = None


class _Entry(msgspec.Struct, frozen=True):
    kind: type[KrakenError]
    status: int
    from_wire: FromWire


_TABLE: dict[str, _Entry] = {}


def _add(kind: type[KrakenError], status: int, from_wire: FromWire | None = None) -> None:
    _TABLE[kind.__name__] = _Entry(kind, status, from_wire or (lambda body: kind(body.message)))


_add(Invalid, 400)
_add(Rejected, 400)
_add(PeerMisbehaved, 400)
_add(NotFound, 404)
_add(OffsetMismatch, 416, lambda body: OffsetMismatch(body.offset or 0))
_add(Unavailable, 503, lambda body: Unavailable(body.message, retry_after=body.retry_after or 1.0))
_add(OutOfSpace, 507, lambda body: OutOfSpace(body.message, retry_after=body.retry_after or 1.0))
_add(Corrupt, 500)


def status_of(error: KrakenError) -> int:
    """The HTTP status of an error: its own class's, or that of the nearest class above it."""
    entry = _entry_of(error)
    return entry.status if entry else 500


def error_response(error: KrakenError) -> web.Response:
    """The answer to a request that ended in `error`."""
    entry = _entry_of(error)
    retry_after = error.retry_after if isinstance(error, Unavailable) else None
    body = ErrorBody(
        error=entry.kind.__name__ if entry else "Internal",
        message=str(error),
        retry_after=retry_after,
        offset=getattr(error, "offset", None),
    )
    headers = {} if retry_after is None else {"Retry-After": str(max(1, math.ceil(retry_after)))}
    return _json(body, entry.status if entry else 500, headers)


def plain_error(status: int, name: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """An error that no class of ours stands for, in the same form."""
    return _json(ErrorBody(error=name, message=message), status, headers or {})


def error_from(status: int, data: bytes, where: str) -> KrakenError:
    """The error that another component answered.

    Args: where, the address that answered, for the message.
    Returns: the class that the other side raised, where its body names one; else what the status means:
    a 4xx is Rejected, 404 NotFound, everything else Unavailable.
    """
    try:
        body = msgspec.json.decode(data, type=ErrorBody)
    except (msgspec.DecodeError, UnicodeDecodeError):
        body = ErrorBody(error="", message="")
    body.message = f"{where}: {body.message or f'HTTP status {status}'}"
    entry = _TABLE.get(body.error)
    if entry is not None and entry.status == status:
        return entry.from_wire(body)
    if status == web.HTTPNotFound.status_code:
        return NotFound(body.message)
    if 400 <= status < 500 and status not in (408, 429):
        return Rejected(body.message)
    return Unavailable(body.message, retry_after=body.retry_after or 1.0)


def _entry_of(error: KrakenError) -> _Entry | None:
    return next((_TABLE[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _TABLE), None)


def _json(body: ErrorBody, status: int, headers: dict[str, str]) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, headers=headers, content_type="application/json")
