"""The write side of the registry API: what a request asks for, and what its answer says.

Whichever way a client uploads (one POST, POST and PUT, chunks with Content-Range, a stream), the bytes take the
same path through `UploadBody`. Source: OCI distribution specification 1.1, Push.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from kraken.core.digest import Algorithm, Digest
from kraken.core.errors import Invalid, KrakenError, NotFound, OffsetMismatch, Rejected
from kraken.core.pieces import MAX_BLOB_SIZE, ByteRange
from kraken.oci.errors import Code, RegistryError
from kraken.oci.manifests import ManifestRecord
from kraken.oci.paths import blob_location, manifest_location, upload_location
from kraken.oci.ranges import chunk_range
from kraken.oci.references import Reference, RepositoryName, Tag
from kraken.oci.sessions import SessionId
from kraken.origin.messages import SMALL_BYTES
from kraken.proxy.bodies import UploadBody, whole_body
from kraken.proxy.deletes import Deletes
from kraken.proxy.events import RegistryEvents
from kraken.proxy.manifests import Manifests
from kraken.proxy.uploads import Uploads

_FORGET_PAUSES = (0.0, 0.1, 0.5, 2.0)
"""Seconds before each attempt to drop a session."""

MAX_TAGS = 100
"""Tags that one PUT of a manifest may set; at least 10 are required of a registry."""


class ProxyWrites:
    """Implements `RegistryWrites` over the service. Times are seconds, see `UploadBody`."""

    def __init__(
        self,
        uploads: Uploads,
        manifests: Manifests,
        deletes: Deletes,
        events: RegistryEvents,
        idle_seconds: float,
        stall_seconds: float,
    ) -> None:
        self._uploads = uploads
        self._manifests = manifests
        self._deletes = deletes
        self._events = events
        self._idle_seconds = idle_seconds
        self._stall_seconds = stall_seconds

    async def begin_upload(self, request: web.Request, repository: RepositoryName) -> web.StreamResponse:
        """POST: a mount, when the blob is there; a whole blob, when its digest is given; else a new session."""
        _check_algorithm(request.query.get("digest-algorithm"))
        if (wanted := request.query.get("mount")) is not None:
            mounted, source = _digest(wanted), request.query.get("from")
            # Who names no repository, or none that could exist, has to upload: that is an answer, not an error.
            if source is None or _is_name(source):
                holder = None if source is None else RepositoryName(source)
                size = await self._uploads.mount(repository, mounted, holder)
                if size is not None:
                    await self._events.blob_mounted(request, repository, mounted, size, holder)
                    return _created(blob_location(repository, mounted), mounted)
        elif (given := request.query.get("digest")) is not None:
            return await self._put_whole(request, repository, _digest(given))
        session = await self._uploads.begin()
        return _accepted(repository, session, 0)

    async def append(self, request: web.Request, repository: RepositoryName, session: SessionId) -> web.StreamResponse:
        """PATCH: a chunk at the place that Content-Range names, or bytes for the end."""
        offset = await self._take(request, repository, session)
        return _accepted(repository, session, offset)

    async def commit(self, request: web.Request, repository: RepositoryName, session: SessionId) -> web.StreamResponse:
        """PUT: the end, after a last chunk or the whole body if there is one."""
        digest = _digest(request.query.get("digest"))
        span, last = _chunk(request), None
        if request.can_read_body or span is not None:
            last = await self._small_body(request)
            if last is None:
                await self._take(request, repository, session)
        with _refusals(repository, session, digest):
            offset = span.start if span is not None and last is not None else None
            size = await self._uploads.commit(repository, session, digest, last, offset)
        await self._events.blob_pushed(request, repository, digest, size)
        return _created(blob_location(repository, digest), digest)

    async def status(self, _request: web.Request, repository: RepositoryName, session: SessionId) -> web.StreamResponse:
        """GET: where the upload goes on."""
        offset = await self._uploads.offset(session)
        return web.Response(status=204, headers=_upload_headers(repository, session, offset))

    async def cancel(
        self, _request: web.Request, _repository: RepositoryName, session: SessionId
    ) -> web.StreamResponse:
        """DELETE: the session and its bytes are gone."""
        await self._uploads.abandon(session)
        return web.Response(status=204)

    async def put_manifest(
        self, request: web.Request, repository: RepositoryName, reference: Reference
    ) -> web.StreamResponse:
        """PUT of a manifest by its digest, with any number of tags, or by one tag."""
        tags = [reference] if isinstance(reference, Tag) else _tags(request)
        limit = self._manifests.max_bytes
        data = await whole_body(request, self._idle_seconds, limit)
        if data is None:
            raise RegistryError(Code.MANIFEST_INVALID, f"a manifest may have {limit} bytes and no more", status=413)
        digest = _manifest_digest(data, reference)
        manifest = await self._manifests.put(repository, data, request.headers.get("Content-Type"), digest, tags)
        record = ManifestRecord(digest, manifest.media_type, len(data))
        await self._events.manifest_pushed(request, repository, record, manifest, tags)
        headers = {"Location": manifest_location(repository, digest), "Docker-Content-Digest": str(digest)}
        if manifest.subject is not None:
            # It tells clients that referrers are kept here, so that they write no fallback tag.
            headers["OCI-Subject"] = str(manifest.subject.digest)
        if tags and not isinstance(reference, Tag):
            headers["OCI-Tag"] = ", ".join(map(str, tags))
        return web.Response(status=201, headers=headers)

    async def delete_manifest(
        self, request: web.Request, repository: RepositoryName, reference: Reference
    ) -> web.StreamResponse:
        """DELETE by tag: the tag; by digest: the manifest and every tag that means it."""
        if isinstance(reference, Tag):
            await self._deletes.delete_tag(repository, reference)
        else:
            await self._deletes.delete_manifest(repository, reference)
        await self._events.deleted(request, repository, reference)
        return web.Response(status=202)

    async def delete_blob(self, request: web.Request, repository: RepositoryName, digest: Digest) -> web.StreamResponse:
        """DELETE of a blob: this repository has it no longer."""
        await self._deletes.delete_blob(repository, digest)
        await self._events.deleted(request, repository, digest)
        return web.Response(status=202)

    async def _put_whole(self, request: web.Request, repository: RepositoryName, digest: Digest) -> web.StreamResponse:
        if (data := await self._small_body(request)) is not None:
            with _refusals(repository, None, digest):
                await self._uploads.put(repository, digest, data)
            await self._events.blob_pushed(request, repository, digest, len(data))
            return _created(blob_location(repository, digest), digest)
        session = await self._uploads.begin()
        try:
            await self._take(request, repository, session)
            with _refusals(repository, session, digest):
                size = await self._uploads.commit(repository, session, digest)
            await self._events.blob_pushed(request, repository, digest, size)
            return _created(blob_location(repository, digest), digest)
        except (KrakenError, asyncio.CancelledError):  # cancelled: the client has gone away
            await self._forget(session)
            raise

    async def _forget(self, session: SessionId) -> None:
        """Drop a session whose name nobody else knows, so that nobody could go on with it.

        The origin may still be busy with bytes that were broken off. What is left in the end expires there.
        """
        for pause in _FORGET_PAUSES:
            await asyncio.sleep(pause)
            try:
                await self._uploads.abandon(session)
            except NotFound:
                return
            except KrakenError:
                continue
            return

    async def _take(self, request: web.Request, repository: RepositoryName, session: SessionId) -> int:
        """Append the body of a request. Returns: the new end of the session."""
        span = _chunk(request)
        limit = MAX_BLOB_SIZE if span is None else span.length
        body = UploadBody(request, self._idle_seconds, self._stall_seconds, limit)
        with _refusals(repository, session):
            offset = await self._uploads.append(session, body, None if span is None else span.start)
        if span is not None and body.received != span.length:
            raise RegistryError(
                Code.SIZE_INVALID, f"Content-Range announces {span.length} bytes, the body has {body.received}"
            )
        return offset

    async def _small_body(self, request: web.Request) -> bytes | None:
        """A body that travels along with the commit; None when it has to be streamed before that."""
        if request.content_length is None or request.content_length > SMALL_BYTES:
            return None
        return await whole_body(request, self._idle_seconds, SMALL_BYTES)


@contextmanager
def _refusals(repository: RepositoryName, session: SessionId | None, digest: Digest | None = None) -> Iterator[None]:
    """What the origins refuse, in the registry's terms."""
    try:
        yield
    except OffsetMismatch as error:
        headers = {} if session is None else _upload_headers(repository, session, error.offset)
        raise RegistryError(Code.BLOB_UPLOAD_INVALID, str(error), status=416, headers=headers) from error
    except Rejected as error:
        if digest is None:
            raise
        raise RegistryError(Code.DIGEST_INVALID, str(error), detail={"digest": str(digest)}) from error


def _created(location: str, digest: Digest) -> web.Response:
    return web.Response(status=201, headers={"Location": location, "Docker-Content-Digest": str(digest)})


def _accepted(repository: RepositoryName, session: SessionId, offset: int) -> web.Response:
    return web.Response(status=202, headers=_upload_headers(repository, session, offset))


def _upload_headers(repository: RepositoryName, session: SessionId, offset: int) -> dict[str, str]:
    """Where the upload goes on. `Range` names the last byte that is held, so it cannot tell nothing from one byte."""
    return {
        "Location": upload_location(repository, session),
        "Range": f"0-{max(offset - 1, 0)}",
        "Docker-Upload-UUID": str(session),
    }


def _chunk(request: web.Request) -> ByteRange | None:
    header = request.headers.get("Content-Range")
    if header is None:
        return None
    try:
        span = chunk_range(header)
    except Invalid as error:
        raise RegistryError(Code.BLOB_UPLOAD_INVALID, str(error)) from error
    if request.content_length not in (None, span.length):
        raise RegistryError(
            Code.SIZE_INVALID, f"Content-Range announces {span.length} bytes, Content-Length {request.content_length}"
        )
    return span


def _digest(text: str | None) -> Digest:
    if text is None:
        raise RegistryError(Code.DIGEST_INVALID, "the query lacks digest, which says what the bytes should be")
    try:
        return Digest.parse(text)
    except Invalid as error:
        raise RegistryError(Code.DIGEST_INVALID, str(error)) from error


def _check_algorithm(text: str | None) -> None:
    if text is not None and text not in {algorithm.value for algorithm in Algorithm}:
        raise RegistryError(Code.DIGEST_INVALID, f"{text[:40]!r} is not an algorithm that is known here")


def _is_name(text: str) -> bool:
    try:
        return bool(RepositoryName(text))
    except Invalid:
        return False


def _tags(request: web.Request) -> list[Tag]:
    texts = list(dict.fromkeys(request.query.getall("tag", [])))
    if len(texts) > MAX_TAGS:
        raise RegistryError(Code.MANIFEST_INVALID, f"{len(texts)} tags; {MAX_TAGS} is the limit", status=414)
    try:
        return list(map(Tag, texts))
    except Invalid as error:
        raise RegistryError(Code.MANIFEST_INVALID, str(error)) from error


def _manifest_digest(data: bytes, reference: Reference) -> Digest:
    """Raises: RegistryError, when the manifest was pushed by a digest that it does not have."""
    if isinstance(reference, Tag):
        return Digest.of(data)
    digest = Digest.of(data, reference.algorithm)
    if digest != reference:
        raise RegistryError(Code.DIGEST_INVALID, f"the manifest has the digest {digest}, not {reference}")
    return digest
