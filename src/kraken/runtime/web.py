"""The HTTP server of every component: one frame around its routes, and limits on everything.

Beneath the routes of a component lie /healthz (alive), /readyz (can do its job, or the reasons why not) and
/metrics. Nothing waits without a deadline, and no traceback ever reaches a client.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.typedefs import Middleware
from multidict import CIMultiDict, CIMultiDictProxy

from kraken.core.errors import BadConfig, Rejected
from kraken.core.peers import Address
from kraken.core.pieces import KIB, MIB
from kraken.core.settings import Unit, setting
from kraken.observability.logs import Log, get_logger
from kraken.observability.metrics import CONTENT_TYPE, Metrics
from kraken.runtime.web_express import ExpressLane, ExpressRoute
from kraken.runtime.web_guard import ConnectionGuard, Limits
from kraken.runtime.web_middlewares import answering_errors, header_limit, mark_started, measuring

Readiness = Callable[[], Sequence[str]]
"""Gives the reasons why a component cannot do its job now; none means that it is ready."""

MAX_BUFFERED_BODY: Final = 4 * MIB + 64 * KIB
"""Bytes of a body that a handler reads whole: a manifest of 4 MiB, the limit of the specification, and some room."""

METRICS: Final = web.AppKey("METRICS", Metrics)
LOG: Final[web.AppKey[Log]] = web.AppKey("LOG")

_BACKLOG: Final = 4096
"""Connections that the kernel may hold ready; the first packets of a crowd beyond it are sent again a second later."""
_READ_BUFFER: Final = 256 * KIB


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The HTTP listener of a component."""

    listen: Address = setting(
        Address("127.0.0.1", 0),
        meaning="Where HTTP is answered. Loopback unless told otherwise; port 0 takes any free port.",
    )
    max_connections: int = setting(
        4096, low=1, high=1_000_000, meaning="Connections open at once; one more is answered 503."
    )
    header_seconds: float = setting(
        10.0, unit=Unit.SECONDS, low=0.1, meaning="A request whose header takes longer than this is ended."
    )
    idle_seconds: float = setting(
        60.0, unit=Unit.SECONDS, low=0.1, meaning="A request body that brings no byte for this long is given up."
    )
    keepalive_seconds: float = setting(
        75.0, unit=Unit.SECONDS, low=0, meaning="How long a connection may wait for its next request."
    )
    stalled_reader_seconds: float = setting(
        300.0, unit=Unit.SECONDS, low=1, meaning="A client that accepts no byte of an answer for this long is dropped."
    )
    drain_seconds: float = setting(
        20.0, unit=Unit.SECONDS, low=0, meaning="At shutdown, requests under way have this long to finish."
    )
    max_url_bytes: int = setting(
        8 * KIB, unit=Unit.BYTES, low=256, high=MIB, meaning="The longest request line that is accepted."
    )
    max_header_bytes: int = setting(
        16 * KIB, unit=Unit.BYTES, low=256, high=MIB, meaning="The largest request header, all its fields together."
    )


def component_app(
    kind: str,
    name: str,
    metrics: Metrics,
    readiness: Readiness,
    *,
    middlewares: Sequence[Middleware] = (),
    max_body_bytes: int = MAX_BUFFERED_BODY,
) -> web.Application:
    """An application with the routes that every component has; add the component's own to its router.

    Args: middlewares, run inside the frame, the first outermost: what they let through is measured, and errors
    that they leave are answered in the internal form; max_body_bytes, for bodies that a handler reads whole.
    """
    log = get_logger(kind, name)
    app = web.Application(
        middlewares=[measuring(metrics), answering_errors(log), *middlewares], client_max_size=max_body_bytes
    )
    app[METRICS] = metrics
    app[LOG] = log
    app.on_response_prepare.append(mark_started)

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def readyz(_request: web.Request) -> web.Response:
        reasons = list(readiness())
        if reasons:
            return web.json_response({"ready": False, "reasons": reasons}, status=503)
        return web.json_response({"ready": True})

    async def metrics_page(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics_page)
    return app


class WebServer:
    """One listening HTTP server around an application made by `component_app`."""

    def __init__(self, app: web.Application, settings: HttpSettings, express: ExpressRoute | None = None) -> None:
        """Args: express, a route of `app` whose plain requests are to pass it by."""
        self._settings = settings
        self._express = express
        self._lane: ExpressLane | None = None
        app.middlewares.insert(1, header_limit(settings.max_header_bytes))  # behind the measuring one
        self._app = app
        self._runner = web.AppRunner(
            app, handle_signals=False, handler_cancellation=True, shutdown_timeout=settings.drain_seconds
        )
        self._listener: asyncio.Server | None = None
        self._address = settings.listen

    @property
    def address(self) -> Address:
        """Where it listens: the real port, where the setting said 0."""
        return self._address

    async def start(self) -> None:
        """Listen.

        Raises: BadConfig, one line, when the address is taken, not allowed, or not of this machine.
        """
        await self._runner.setup()
        assert self._runner.server is not None
        self._runner.server.request_factory = _deaf_to_odd_expectations(self._runner.server.request_factory)
        guard = ConnectionGuard(self._runner.server, self._limits(), self._app[LOG], self._app[METRICS])
        if self._express is not None:
            self._lane = ExpressLane(self._express, guard)
            guard.accept_with(self._lane)
        listen = self._settings.listen
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                guard, listen.bare_host, listen.port, backlog=_BACKLOG, reuse_address=True
            )
        except OSError as error:
            await self._runner.cleanup()
            raise BadConfig(f"http.listen {listen}: {listen_failure(error)}") from error
        self._address = Address(listen.host, self._listener.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Accept no more, let requests under way finish within `drain_seconds`, then close."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._lane is not None:
            await self._lane.drain(self._settings.drain_seconds)
        await self._runner.cleanup()

    def _limits(self) -> Limits:
        settings = self._settings
        return Limits(
            max_connections=settings.max_connections,
            header_seconds=settings.header_seconds,
            idle_seconds=settings.idle_seconds,
            keepalive_seconds=settings.keepalive_seconds,
            stalled_reader_seconds=settings.stalled_reader_seconds,
            max_url_bytes=settings.max_url_bytes,
            max_header_bytes=settings.max_header_bytes,
            read_buffer_bytes=_READ_BUFFER,
        )


def listen_failure(error: OSError) -> str:
    """Why a listener could not be opened, in words for an operator."""
    if error.errno == errno.EADDRINUSE:
        return "the port is in use by another process"
    if error.errno == errno.EACCES:
        return "not permitted; ports below 1024 need the right to bind them"
    if error.errno == errno.EADDRNOTAVAIL or "could not bind on any address" in str(error):  # asyncio from 3.13 on
        return "this machine does not have that address"
    if isinstance(error, socket.gaierror):
        return "the host name does not resolve"
    return error.strerror or str(error)


async def body_chunks(request: web.Request, idle_seconds: float) -> AsyncIterator[bytes]:
    """The body of a request, as it arrives. Memory stays bounded: what is not read is not received.

    Raises: Rejected, when the body ends before its announced length, or no byte comes for `idle_seconds`.
    """
    while True:
        try:
            async with asyncio.timeout(idle_seconds):
                chunk = await request.content.readany()
        except TimeoutError as error:
            raise Rejected(f"the request body stalled for {idle_seconds:g} seconds") from error
        except (web.RequestPayloadError, ConnectionError) as error:
            raise Rejected("the request body ended before its announced length") from error
        if not chunk:
            return
        yield chunk


async def read_body(request: web.Request, idle_seconds: float, max_bytes: int = MAX_BUFFERED_BODY) -> bytes:
    """The whole body of a request that is known to be small.

    Raises: Rejected, when it is larger than `max_bytes`, truncated or stalled.
    """
    parts: list[bytes] = []
    received = 0
    async for chunk in body_chunks(request, idle_seconds):
        received += len(chunk)
        if received > max_bytes:
            raise Rejected(f"the request body is larger than {max_bytes} bytes")
        parts.append(chunk)
    return b"".join(parts)


def json_response(value: object, status: int = 200) -> web.Response:
    """`value`, encoded by msgspec: structs, dataclasses and plain JSON values alike."""
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def _deaf_to_odd_expectations(make: Callable[..., web.BaseRequest]) -> Callable[..., web.BaseRequest]:
    """Requests without expectations other than 100-continue, which may be ignored (RFC 9110, section 10.1.1).

    aiohttp refuses them, and quotes them: one that is no text makes that a failure of ours.
    """

    def made(message: RawRequestMessage, *rest: Any) -> web.BaseRequest:
        if message.headers.get("Expect", "100-continue").lower() != "100-continue":
            headers = CIMultiDict(message.headers)
            del headers["Expect"]
            message = message._replace(headers=CIMultiDictProxy(headers))
        return make(message, *rest)

    return made
