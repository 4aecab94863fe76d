"""What stands between a socket and the handlers: limits that hold before a request exists.

A connection beyond the cap is told so and closed. A header that does not arrive in time, a body that stalls,
and a reader that takes nothing for minutes end their connection; the kernel watches the last one, because
sendfile bypasses every buffer that could be looked at here.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics

_REFUSED = (
    b"HTTP/1.1 503 Service Unavailable\r\nServer: kraken\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: 76\r\n\r\n"
    b'{"error":"Unavailable","message":"too many connections","retry_after":1.0}\r\n'
)
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nServer: kraken\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_LINGER_SECONDS = 10.0
"""A body that a handler did not want is read and dropped for at most this long, so that its answer is seen."""
_REFUSAL_SECONDS = 1.0
_MAX_REFUSALS = 256
"""Refused connections that may wait for their answer at once; beyond them the door is just shut."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may do. Times are seconds, sizes bytes."""

    max_connections: int
    header_seconds: float
    idle_seconds: float
    keepalive_seconds: float
    stalled_reader_seconds: float
    max_url_bytes: int
    max_header_bytes: int
    read_buffer_bytes: int


class ConnectionGuard:
    """Makes the protocol of each accepted connection, and counts them."""

    def __init__(self, server: web.Server, limits: Limits, log: Log, metrics: Metrics) -> None:
        self.server = server
        self.limits = limits
        self.log = log
        self.metrics = metrics
        self.refusals = 0
        self._open = 0
        self._accept: Callable[[], asyncio.Protocol] = lambda: GuardedConnection(self)

    def accept_with(self, make: Callable[[], asyncio.Protocol]) -> None:
        """Let another protocol have the connections; it tells when one is `opened` and `closed`."""
        self._accept = make

    def __call__(self) -> asyncio.Protocol:
        if self._open < self.limits.max_connections:
            return self._accept()
        self.metrics.http_connections_refused.inc()
        self.log.debug(Event.CONNECTION_REFUSED, open=self._open, limit=self.limits.max_connections)
        return Refusal(self)

    def opened(self) -> None:
        """A connection was accepted."""
        self._open += 1
        self.metrics.http_connections.inc()

    def closed(self) -> None:
        """One that was accepted is gone."""
        self._open -= 1
        self.metrics.http_connections.dec()


class GuardedConnection(web.RequestHandler):
    """An HTTP connection whose request headers must arrive in time."""

    __slots__ = ("_counted", "_guard", "_header_timer")

    counted = True
    """Whether it is what the guard accepted, and not only a guest on the connection of something else."""

    def __init__(self, guard: ConnectionGuard) -> None:
        limits = guard.limits
        super().__init__(
            guard.server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=limits.keepalive_seconds,
            max_line_size=limits.max_url_bytes,
            max_field_size=limits.max_header_bytes,
            lingering_time=min(limits.idle_seconds, _LINGER_SECONDS),
            read_bufsize=limits.read_buffer_bytes,
            auto_decompress=False,
            access_log=None,  # type: ignore[arg-type] # aiohttp means "none" by it; only its annotation forgot
        )
        self._guard = guard
        self._counted = False
        self._header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._counted = self.counted
        if self._counted:
            self._guard.opened()
        milliseconds = int(self._guard.limits.stalled_reader_seconds * 1000)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        self._await_header()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._header_arrived()
        if self._counted:
            self._counted = False
            self._guard.closed()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._request_count or (self._waiter is not None and not self._waiter.done()):
            self._await_header()  # bytes came, and still no request: its header is incomplete
        else:
            self._header_arrived()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, LineTooLong):  # aiohttp tells which line only by the limit that it exceeds
            status = 414 if exc.args[1] == self._guard.limits.max_url_bytes else 431
        response = super().handle_error(request, status, exc, message)
        response.headers["Server"] = "kraken"
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Say it in our own words: what a stranger sends is no reason for a traceback."""
        error = kw.get("exc_info")
        if isinstance(error, ConnectionError):
            return  # the client is gone, or its answer was cut and that has been logged
        if isinstance(error, HttpProcessingError):
            self._guard.log.info(Event.BAD_HTTP, error=error.message.strip()[:200], remote=self._remote())
        else:
            self._guard.log.error(Event.REQUEST_FAILED, message=str(args[0] if args else ""), exc_info=error)

    def _await_header(self) -> None:
        if self._header_timer is None:
            self._header_timer = self._loop.call_later(self._guard.limits.header_seconds, self._header_overdue)

    def _header_arrived(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _header_overdue(self) -> None:
        self._header_timer = None
        if self.transport is not None:
            self.transport.write(TOO_SLOW)
        self.force_close()

    def _remote(self) -> str:
        peer = self.peername
        return str(peer[0]) if isinstance(peer, tuple) else str(peer)


class Refusal(asyncio.Protocol):
    """A connection too many: it hears 503 when it asks something, and is closed at once or soon."""

    def __init__(self, guard: ConnectionGuard) -> None:
        self._guard = guard
        self._close: Callable[[], None] = lambda: None
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._guard.refusals += 1
        self._transport = cast(asyncio.WriteTransport, transport)  # of uvloop it is one, though not by class
        if self._guard.refusals > _MAX_REFUSALS:
            self._transport.abort()
            return
        self._close = asyncio.get_running_loop().call_later(_REFUSAL_SECONDS, self._transport.abort).cancel

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - whatever it asks, the answer is no
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(_REFUSED)
            self._transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002 - the end is the same
        self._guard.refusals -= 1
        self._close()
