"""The tracker's routes.

POST /announce           MessagePack in and out, see `messages`
GET  /metainfo/{digest}  metainfo; with ?content=1 the blob's bytes behind it, when they are few
"""

from __future__ import annotations

from aiohttp import web

from kraken.core.digest import Digest
from kraken.observability.metrics import Metrics
from kraken.origin.messages import INLINE_LENGTH_HEADER
from kraken.runtime.web import read_body
from kraken.tracker.messages import MAX_ANNOUNCE_BYTES, decode_request, encode
from kraken.tracker.service import MetainfoRelay, TrackerService

_BINARY = {"Content-Type": "application/octet-stream"}


class TrackerRoutes:
    """Admits requests, and hands them to the service or the relay."""

    def __init__(self, service: TrackerService, relay: MetainfoRelay, metrics: Metrics, idle_seconds: float) -> None:
        self._service = service
        self._relay = relay
        self._metrics = metrics
        self._idle_seconds = idle_seconds

    def register(self, app: web.Application) -> None:
        """Add the routes to an application."""
        app.router.add_post("/announce", self._announce)
        app.router.add_get("/metainfo/{digest}", self._metainfo)

    async def _announce(self, request: web.Request) -> web.StreamResponse:
        result = "failed"
        try:
            message = decode_request(await read_body(request, self._idle_seconds, MAX_ANNOUNCE_BYTES))
            reply = await self._service.announce(message, request.remote or "")
            result = "ok"
            return web.Response(body=encode(reply), headers={"Content-Type": "application/msgpack"})
        finally:
            self._metrics.announces.labels(result=result).inc()

    async def _metainfo(self, request: web.Request) -> web.StreamResponse:
        digest = Digest.parse(request.match_info["digest"])
        metainfo, content = await self._relay.get(digest)
        if content is None or request.query.get("content") != "1":
            return web.Response(body=metainfo, headers=_BINARY)
        headers = {**_BINARY, INLINE_LENGTH_HEADER: str(len(content))}
        return web.Response(body=metainfo + content, headers=headers)
