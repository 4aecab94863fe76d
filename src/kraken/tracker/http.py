"""The tracker's routes.

POST /announce           MessagePack in and out, see `messages`; plain ones take the server's express lane
GET  /swarms             the largest swarms; ?limit=N of them
GET  /swarms/{swarm}     one of them, by its id in hex: its origins, sums, and peers; ?limit=N of these
GET  /metainfo/{digest}  metainfo; with ?content=1 the blob's bytes behind it, when they are few
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from kraken.core.digest import Digest
from kraken.core.errors import Rejected
from kraken.core.metainfo import SWARM_ID_BYTES
from kraken.core.pieces import KIB
from kraken.observability.metrics import Metrics
from kraken.origin.messages import INLINE_LENGTH_HEADER
from kraken.runtime.web import json_response, read_body
from kraken.runtime.web_express import ExpressRoute
from kraken.tracker.live_view import MAX_LISTED
from kraken.tracker.messages import MAX_ANNOUNCE_BYTES, decode_request
from kraken.tracker.service import Answer, MetainfoRelay, TrackerService

ANNOUNCE_PATH = "/announce"
MAX_EXPRESS_BYTES = 64 * KIB
"""More than an agent says in one request; what is larger is read as it comes, by aiohttp."""

_LISTED = 100
_MSGPACK = "application/msgpack"
_BINARY = {"Content-Type": "application/octet-stream"}


class TrackerRoutes:
    """Admits requests, and hands them to the service or the relay."""

    def __init__(self, service: TrackerService, relay: MetainfoRelay, metrics: Metrics, idle_seconds: float) -> None:
        self._service = service
        self._relay = relay
        self._answered = metrics.announces.labels(result="ok")
        self._failed = metrics.announces.labels(result="failed")
        self._idle_seconds = idle_seconds

    def register(self, app: web.Application) -> None:
        """Add the routes to an application."""
        app.router.add_post(ANNOUNCE_PATH, self._announce)
        app.router.add_get("/swarms", self._swarms)
        app.router.add_get("/swarms/{swarm}", self._swarm)
        app.router.add_get("/metainfo/{digest}", self._metainfo)

    def express(self) -> ExpressRoute:
        """The way of announces that are like those of every agent."""
        return ExpressRoute(ANNOUNCE_PATH, _MSGPACK, MAX_EXPRESS_BYTES, self._take)

    async def _announce(self, request: web.Request) -> web.StreamResponse:
        body = await read_body(request, self._idle_seconds, MAX_ANNOUNCE_BYTES)
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def answer(encoded: bytes) -> None:
            if not reply.done():  # else whoever asked is gone
                reply.set_result(encoded)

        self._take(body, request.remote or "", answer)
        return web.Response(body=await reply, headers={"Content-Type": _MSGPACK})

    def _take(self, body: bytes, remote: str, answer: Answer) -> None:
        try:
            peer_id, said = decode_request(body)
            self._service.announce(peer_id, said, remote, answer)
        except BaseException:
            self._failed.inc()
            raise
        self._answered.inc()

    async def _swarms(self, request: web.Request) -> web.StreamResponse:
        return json_response(self._service.swarms(_limit(request)))

    async def _swarm(self, request: web.Request) -> web.StreamResponse:
        return json_response(self._service.swarm(_swarm_id(request.match_info["swarm"]), _limit(request)))

    async def _metainfo(self, request: web.Request) -> web.StreamResponse:
        digest = Digest.parse(request.match_info["digest"])
        metainfo, content = await self._relay.get(digest)
        if content is None or request.query.get("content") != "1":
            return web.Response(body=metainfo, headers=_BINARY)
        headers = {**_BINARY, INLINE_LENGTH_HEADER: str(len(content))}
        return web.Response(body=metainfo + content, headers=headers)


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(_LISTED))
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Rejected(f"limit={text[:20]!r} is not a number; say how many are to be listed, 0 to {MAX_LISTED}")
    return min(int(text), MAX_LISTED)


def _swarm_id(text: str) -> bytes:
    try:
        swarm = bytes.fromhex(text)
    except ValueError:
        swarm = b""
    if len(swarm) != SWARM_ID_BYTES:
        raise Rejected(f"{text[:80]!r} is not the id of a swarm: {2 * SWARM_ID_BYTES} digits in hex")
    return swarm
