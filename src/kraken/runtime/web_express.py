"""The express lane of a server: one route whose plain requests are answered inside the protocol.

aiohttp makes a task, a request, a response and a walk through the middlewares of each request, and a task and a
parser of each connection: a route that every host of a fleet asks at the same instant cannot pay that. Here requests
are read and answered where the bytes arrive. Those that are not plain, too large for the lane or for another route are
lent to aiohttp, with all its limits and errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from aiohttp import web

from kraken.runtime.express_connection import ExpressConnection
from kraken.runtime.plain_request import PlainReader
from kraken.runtime.web_guard import ConnectionGuard
from kraken.runtime.web_middlewares import answer_to

_CLOSING: Final = b"Connection: close\r\n"

Answer = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class ExpressRoute:
    """`POST path`, for bodies of at most `max_body_bytes`.

    `handle` gets the body, the address at the other end, and what to call with the answer's body, now or later.
    It may raise instead: errors are answered as those of any route are.
    """

    path: str
    content_type: str
    max_body_bytes: int
    handle: Callable[[bytes, str, Answer], None]


class ExpressLane:
    """What the connections of one server share. Called, it makes the protocol of one."""

    def __init__(self, route: ExpressRoute, guard: ConnectionGuard) -> None:
        self._path = route.path
        self._content_type = route.content_type
        self.guard = guard
        self.limits = guard.limits
        self.read = PlainReader(route.path, route.max_body_bytes).read
        self.handle = route.handle
        self.draining = False
        self._connections: set[ExpressConnection] = set()
        self._one_closed = asyncio.Event()
        self._ok = guard.metrics.http_requests.labels(route=route.path, method="POST", status="200")
        self._seconds = guard.metrics.http_request_seconds.labels(route=route.path)
        self._heads: dict[int, bytes] = {}
        self._heads_until = 0.0

    def __call__(self) -> asyncio.Protocol:
        return ExpressConnection(self)

    def opened(self, connection: ExpressConnection) -> None:
        self._connections.add(connection)
        self.guard.opened()

    def closed(self, connection: ExpressConnection) -> None:
        self._connections.discard(connection)
        self._one_closed.set()
        self.guard.closed()

    def success(self, body: bytes, seconds: float, now: float, keep: bool) -> bytes:
        """Count an answer. Returns: all of it, around `body`. Args: keep, whether the connection stays open."""
        self._ok.inc()
        self._seconds.observe(seconds)
        if not keep:
            return b"%b%b\r\n%b" % (self._head(len(body)), _CLOSING, body)
        if now >= self._heads_until:
            self._heads.clear()
            self._heads_until = now + 1.0
        head = self._heads.get(len(body))
        if head is None:
            head = self._heads[len(body)] = self._head(len(body)) + b"\r\n"
        return head + body

    def failure(self, error: Exception, keep: bool) -> bytes:
        """Count an answer that tells of an error. Returns: all of it. Args: see `success`."""
        response = answer_to(error, "POST", self._path, self.guard.log)
        metrics = self.guard.metrics
        metrics.http_requests.labels(route=self._path, method="POST", status=str(response.status)).inc()
        self._seconds.observe(0.0)
        if not keep:
            response.headers["Connection"] = "close"
        return _rendered(response)

    async def drain(self, seconds: float) -> None:
        """Close connections that wait for nothing at once, the others when they are answered, or after `seconds`.

        Those that are lent are for aiohttp to close.
        """
        self.draining = True
        for connection in tuple(self._connections):
            connection.finish()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not all(connection.lent for connection in self._connections):
                    self._one_closed.clear()
                    await self._one_closed.wait()
        for connection in tuple(self._connections):
            if not connection.lent:
                connection.abort()

    def _head(self, length: int) -> bytes:
        """The status and the fields of an answer whose body has this length; more fields may follow."""
        about = f"Content-Type: {self._content_type}\r\nContent-Length: {length}\r\n"
        return f"HTTP/1.1 200 OK\r\nServer: kraken\r\nDate: {formatdate(usegmt=True)}\r\n{about}".encode()


def _rendered(response: web.Response) -> bytes:
    body = response.body
    assert isinstance(body, bytes)
    fields = {**response.headers, "Server": "kraken", "Date": formatdate(usegmt=True), "Content-Length": str(len(body))}
    lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
