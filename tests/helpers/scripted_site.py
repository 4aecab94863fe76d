"""Servers on loopback that do what a test tells them: a registry, its token server, a store that it redirects to."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from tests.helpers.ports import free_address
from tests.helpers.registry import Image

from kraken.core.digest import Digest

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came. `query` has its parameters in order, `headers` their names in lower case."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str] = field(compare=False)

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")


class Site:
    """A server that answers the next of `script`, and by its rule when that is empty. `seen` is every request."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._address = free_address()
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self.seen: list[Seen] = []
        self.script: deque[Answer] = deque()

    @property
    def url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://{self._address}"

    @property
    def lines(self) -> list[str]:
        """What was asked, in short."""
        return [f"{seen.method} {seen.path}" for seen in self.seen]

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._address.host, self._address.port, ssl_context=self._tls).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def rule(self, request: web.Request) -> web.StreamResponse:
        """What is answered when the script says nothing."""
        return web.Response(status=404)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(Seen(request.method, request.path, tuple(request.query.items()), headers))
        return await (self.script.popleft() if self.script else self.rule)(request)


class Store(Site):
    """Blobs by the last part of the path, as an object store has them; ranges included."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.blobs: dict[str, bytes] = {}

    def add(self, data: bytes) -> Digest:
        digest = Digest.of(data)
        self.blobs[str(digest)] = data
        return digest

    async def rule(self, request: web.Request) -> web.StreamResponse:
        data = self.blobs.get(request.path.rpartition("/")[2])
        if data is None:
            return web.json_response({"errors": [{"code": "BLOB_UNKNOWN", "message": "unknown"}]}, status=404)
        start = request.http_range.start or 0
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        return web.Response(body=data[start:], status=206 if start else 200, headers=headers)


class Registry(Store):
    """A registry. `challenge` is what it wants of those whose Authorization is not among `accepted`."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.manifests: dict[str, Image] = {}
        self.challenge: str | None = None
        self.accepted: set[str] = set()
        self.tells_digests = True
        self.etag: str | None = None

    def add_image(self, image: Image, *tags: str) -> Digest:
        self.manifests |= dict.fromkeys((str(image.digest), *tags), image)
        for blob in image.blobs:
            self.add(blob)
        return image.digest

    async def rule(self, request: web.Request) -> web.StreamResponse:
        if self.challenge is not None and request.headers.get("Authorization") not in self.accepted:
            return await unauthorizing(self.challenge)(request)
        if "/manifests/" not in request.path:
            return await super().rule(request)
        image = self.manifests.get(request.path.rpartition("/")[2])
        if image is None:
            return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "unknown"}]}, status=404)
        headers = {"Content-Type": image.media_type, "ETag": self.etag or f'"{image.digest}"'}
        if self.tells_digests:
            headers["Docker-Content-Digest"] = str(image.digest)
        if headers["ETag"] in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        return web.Response(body=image.manifest, headers=headers)


class TokenServer(Site):
    """Gives tokens: `token-1`, `token-2` and so on. `password` is the Authorization that it wants, if any."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.password: str | None = None
        self.given = 0
        self.expires_in: int | None = None

    async def rule(self, request: web.Request) -> web.StreamResponse:
        if self.password is not None and request.headers.get("Authorization") != self.password:
            return web.json_response({"details": "incorrect username or password"}, status=401)
        self.given += 1
        answer: dict[str, object] = {"token": f"token-{self.given}"}
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
        return web.json_response(answer)


@asynccontextmanager
async def running_sites(*sites: Site) -> AsyncIterator[None]:
    """The sites, started and stopped."""
    try:
        for site in sites:
            await site.start()
        yield
    finally:
        for site in sites:
            await site.stop()


def unauthorizing(challenge: str) -> Answer:
    async def answer(_request: web.Request) -> web.StreamResponse:
        said = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
        return web.json_response(said, status=401, headers={"WWW-Authenticate": challenge})

    return answer


def status(number: int, **headers: str) -> Answer:
    """An answer with this status; underscores in names of headers stand for dashes."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=number, headers={name.replace("_", "-"): it for name, it in headers.items()})

    return answer


def redirect(url: str, number: int = 307) -> Answer:
    return status(number, Location=url)


def cut_after(data: bytes, count: int, start: int = 0) -> Answer:
    """A body that promises all of `data` from `start` on, and ends after `count` bytes of it."""

    async def answer(request: web.Request) -> web.StreamResponse:
        headers = {"Content-Length": str(len(data) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        await response.write(data[start : start + count])
        assert request.transport is not None
        request.transport.close()
        return response

    return answer


def body(data: bytes, number: int = 200, **headers: str) -> Answer:
    """A whole body, chunked: its length is not told."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            status=number, headers={name.replace("_", "-"): it for name, it in headers.items()}
        )
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(data)
        await response.write_eof()
        return response

    return answer
