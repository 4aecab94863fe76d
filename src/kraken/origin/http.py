"""The HTTP routes of an origin: for proxies, trackers and other origins, never for clients."""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import hdrs, web

from kraken.core.digest import Digest
from kraken.core.errors import Corrupt, Invalid, Rejected
from kraken.core.pieces import ByteRange
from kraken.oci.ranges import Unsatisfiable, requested_range
from kraken.origin.collector import Collector
from kraken.origin.messages import (
    INLINE_LENGTH_HEADER,
    MAX_STAT_DIGESTS,
    SMALL_BYTES,
    OffsetAnswer,
    StatAnswer,
    StatRequest,
)
from kraken.origin.service import Body, OriginService
from kraken.runtime.bandwidth import Traffic
from kraken.runtime.signs_of_life import with_signs_of_life
from kraken.runtime.web import body_chunks, json_response, read_body
from kraken.storage.io.http_body import CompleteBlob, send_blob
from kraken.storage.layout import SessionId, session_id

_OCTETS: Final = "application/octet-stream"


class OriginRoutes:
    """Turns requests into calls of the service. Values from outside are admitted here."""

    def __init__(self, service: OriginService, collector: Collector, traffic: Traffic, idle_seconds: float) -> None:
        """Args: idle_seconds, a body that brings no byte for this long is given up."""
        self._traffic = traffic
        self._service = service
        self._collector = collector
        self._idle_seconds = idle_seconds

    def add_to(self, app: web.Application) -> None:
        router = app.router
        router.add_post("/uploads/{session}", self.begin_upload)
        router.add_get("/uploads/{session}", self.upload_offset)
        router.add_patch("/uploads/{session}", self.append_to_upload)
        router.add_put("/uploads/{session}", self.commit_upload)
        router.add_delete("/uploads/{session}", self.abandon_upload)
        router.add_put("/blobs/{digest}", self.put_blob)
        router.add_get("/blobs/{digest}", self.get_blob)
        router.add_put("/replicas/{digest}", self.put_replica)
        router.add_get("/metainfo/{digest}", self.get_metainfo)
        router.add_post("/stat", self.stat)
        router.add_get("/garbage", self.garbage)
        router.add_post("/garbage", self.collect)

    async def begin_upload(self, request: web.Request) -> web.Response:
        await self._service.uploads.begin(_session(request))
        return json_response(OffsetAnswer(await self._service.uploads.offset(_session(request))), status=201)

    async def upload_offset(self, request: web.Request) -> web.Response:
        return json_response(OffsetAnswer(await self._service.uploads.offset(_session(request))))

    async def append_to_upload(self, request: web.Request) -> web.Response:
        return json_response(OffsetAnswer(await self._append(request)))

    async def commit_upload(self, request: web.Request) -> web.Response:
        """Commit, after a last chunk if the request has a body."""
        digest = _digest(request.query.get("digest", ""))
        if request.can_read_body or "offset" in request.query:
            await self._append(request)
        answer = await with_signs_of_life(request, self._service.commit(_session(request), digest))
        return json_response(answer, status=201)

    async def abandon_upload(self, request: web.Request) -> web.Response:
        await self._service.uploads.abandon(_session(request))
        return web.Response(status=204)

    async def put_blob(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        work = self._service.put_blob(_digest(request.match_info["digest"]), body)
        return json_response(await with_signs_of_life(request, work), status=201)

    async def put_replica(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        work = self._service.put_replica(_digest(request.match_info["digest"]), body)
        return json_response(await with_signs_of_life(request, work), status=201)

    async def get_blob(self, request: web.Request) -> web.StreamResponse:
        digest = _digest(request.match_info["digest"])
        try:
            with await self._service.blobs.open(digest) as blob:
                try:
                    wanted = requested_range(request.headers.get(hdrs.RANGE), blob.size)
                except Unsatisfiable:
                    return web.Response(status=416, headers={hdrs.CONTENT_RANGE: f"bytes */{blob.size}"})
                span = wanted or ByteRange(0, blob.size)
                response = _blob_response(wanted, span, blob.size)
                if request.method == hdrs.METH_HEAD:
                    return response
                await send_blob(request, response, CompleteBlob(blob), span, self._traffic.sent)
                return response
        except Corrupt as error:
            await self._service.found_corrupt(digest, error)
            raise

    async def get_metainfo(self, request: web.Request) -> web.Response:
        digest = _digest(request.match_info["digest"])
        with_content = request.query.get("content") == "1"
        try:
            metainfo, content = await self._service.metainfo(digest, with_content=with_content)
        except Corrupt as error:
            await self._service.found_corrupt(digest, error)
            raise
        headers: dict[str, str] = {hdrs.CONTENT_TYPE: _OCTETS}
        if content is not None:
            headers[INLINE_LENGTH_HEADER] = str(len(content))
        return web.Response(body=metainfo.encode() + (content or b""), headers=headers)

    async def stat(self, request: web.Request) -> web.Response:
        try:
            asked = msgspec.json.decode(await read_body(request, self._idle_seconds), type=StatRequest)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Rejected(f"this is no list of digests: {error}") from error
        if len(asked.digests) > MAX_STAT_DIGESTS:
            raise Rejected(f"{len(asked.digests)} digests at once; {MAX_STAT_DIGESTS} is the limit")
        return json_response(StatAnswer(await self._service.sizes(_digest(text) for text in asked.digests)))

    async def garbage(self, _request: web.Request) -> web.Response:
        return json_response(await self._collector.look())

    async def collect(self, request: web.Request) -> web.Response:
        return json_response(await with_signs_of_life(request, self._collector.collect()))

    async def _body(self, request: web.Request) -> Body:
        length = request.content_length
        if length is not None and length <= SMALL_BYTES:
            self._traffic.received.spend(length)
            return await read_body(request, self._idle_seconds)
        return self._traffic.received.paced(body_chunks(request, self._idle_seconds))

    async def _append(self, request: web.Request) -> int:
        chunks = self._traffic.received.paced(body_chunks(request, self._idle_seconds))
        return await self._service.uploads.append(_session(request), _offset(request), chunks)


def _blob_response(wanted: ByteRange | None, span: ByteRange, size: int) -> web.StreamResponse:
    headers = {
        hdrs.CONTENT_TYPE: _OCTETS,
        hdrs.CONTENT_LENGTH: str(span.length),
        hdrs.ACCEPT_RANGES: "bytes",
    }
    if wanted is not None:
        headers[hdrs.CONTENT_RANGE] = f"bytes {span.start}-{span.stop - 1}/{size}"
    return web.StreamResponse(status=200 if wanted is None else 206, headers=headers)


def _session(request: web.Request) -> SessionId:
    try:
        return session_id(request.match_info["session"])
    except Invalid as error:
        raise Rejected(str(error)) from error


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except Invalid as error:
        raise Rejected(str(error)) from error


def _offset(request: web.Request) -> int | None:
    text = request.query.get("offset")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise Rejected(f"{text[:40]!r} is not an offset")
    return int(text)
