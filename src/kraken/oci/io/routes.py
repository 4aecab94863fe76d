"""The routes under /v2/: one implementation for every component that is a registry.

Here a request is admitted (path, range, page) and its answer gets its headers; where the bytes come from is
the business of `RegistryReads` and `RegistryWrites`. Everything that fails is answered in the registry's form.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import compress
from typing import Final, assert_never

import msgspec
from aiohttp import web

from kraken.core.digest import Digest
from kraken.core.errors import Corrupt, Invalid, KrakenError, NotFound
from kraken.core.pieces import ByteRange
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.oci.errors import (
    BLOB_READ,
    MANIFEST_READ,
    MANIFEST_WRITE,
    TAGS_READ,
    UPLOAD,
    Blame,
    Code,
    RegistryError,
    as_registry_error,
    internal_error,
)
from kraken.oci.io.ports import BlobAnswer, OnPull, Pulled, RegistryReads, RegistryWrites
from kraken.oci.manifests import OCI_INDEX, ManifestRecord
from kraken.oci.mirroring import Mirroring
from kraken.oci.pages import PageRequest, next_link, parse_page
from kraken.oci.paths import (
    Base,
    BlobPath,
    CatalogPath,
    Endpoint,
    ManifestPath,
    ReferrersPath,
    TagsPath,
    UploadPath,
    UploadsPath,
    parse_path,
    referrers_location,
)
from kraken.oci.ranges import Unsatisfiable, requested_range
from kraken.oci.references import RepositoryName
from kraken.oci.referrers import (
    Referrer,
    fallback_tag,
    next_referrers_link,
    referrers_of_index,
    referrers_page,
)

API_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
"""On every answer under /v2/: old clients look for it."""

_STARTED: Final = web.RequestKey("registry_response_started", bool)
_NAMESPACE: Final = web.RequestKey("registry_namespace", str)
_READ_METHODS = ("GET", "HEAD")

_ASKED_AT_ONCE = 32
"""Manifests of a client's own list of referrers that are looked up together."""

Answering = Callable[[], Awaitable[web.StreamResponse]]


class RegistryRoutes:
    """The /v2/ tree of one component. Without `writes` every request that would change something is a 405."""

    def __init__(
        self,
        reads: RegistryReads,
        log: Log,
        mirroring: Mirroring,
        writes: RegistryWrites | None = None,
        on_pull: OnPull | None = None,
    ) -> None:
        self._reads = reads
        self._mirroring = mirroring
        self._writes = writes
        self._on_pull = on_pull
        self._log = log

    def register(self, app: web.Application) -> None:
        """Add the routes to an application."""
        for path in ("/v2", r"/v2/{path:[\s\S]*}"):  # a line feed is nothing special
            app.router.add_route("*", path, self._answer)
        app.on_response_prepare.append(_on_prepare)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            endpoint = parse_path(request.path)
        except RegistryError as error:
            return error_response(error)
        try:
            return await self._dispatch(request, self._named(request, endpoint))
        except KrakenError as error:
            if _STARTED in request:
                raise  # too late for an answer: the frame around us cuts the connection
            if isinstance(error, Corrupt):
                self._log.error(Event.REQUEST_FAILED, method=request.method, path=request.path, error=str(error))
            return error_response(as_registry_error(error, _blame(endpoint, request.method)))
        except web.HTTPException as error:
            status = error.status
            return error_response(RegistryError(Code.UNSUPPORTED, error.reason, status=status))
        except (ConnectionError, web.RequestPayloadError):
            raise  # the client is gone
        except Exception as error:
            if _STARTED in request:
                raise
            self._log.error(
                Event.REQUEST_FAILED, method=request.method, path=request.path, error=str(error), exc_info=error
            )
            return error_response(internal_error())

    def _named(self, request: web.Request, endpoint: Endpoint) -> Endpoint:
        """The endpoint under the name that its repository has here.

        Raises: RegistryError, at once, when the registry that the client means is not mirrored, and for what would
        change a mirrored repository.
        """
        if isinstance(endpoint, Base | CatalogPath):
            return endpoint
        ns = request.query.get("ns")
        if request.method not in _READ_METHODS and ns is not None:
            ns = None if self._mirroring.named(endpoint.repository, ns) is None else ns  # pushes to us by another name
        name = self._mirroring.named(endpoint.repository, ns)
        if name is None:
            raise RegistryError(Code.NAME_UNKNOWN, f"{str(ns)[:200]!r} is no registry that is mirrored here")
        if request.method not in _READ_METHODS and self._mirroring.is_mirrored(name):
            raise RegistryError(Code.DENIED, f"{name} mirrors another registry, and cannot be changed here")
        if ns is not None:
            request[_NAMESPACE] = ns
        return endpoint if name == endpoint.repository else replace(endpoint, repository=name)

    async def _dispatch(self, request: web.Request, endpoint: Endpoint) -> web.StreamResponse:
        match endpoint:
            case Base():
                return await _by_method(request, {"GET": _base, "HEAD": _base})
            case BlobPath():
                return await _by_method(request, self._blob(request, endpoint))
            case ManifestPath():
                return await _by_method(request, self._manifest(request, endpoint))
            case UploadsPath():
                return await _by_method(request, self._uploads(request, endpoint))
            case UploadPath():
                return await _by_method(request, self._upload(request, endpoint))
            case TagsPath():
                return await _by_method(request, {"GET": lambda: self._tags(request, endpoint)})
            case ReferrersPath():
                return await _by_method(request, {"GET": lambda: self._referrers(request, endpoint)})
            case CatalogPath():
                return await _by_method(request, {"GET": lambda: self._catalog(request)})
            case _:
                assert_never(endpoint)

    def _blob(self, request: web.Request, at: BlobPath) -> dict[str, Answering]:
        methods: dict[str, Answering] = {
            "HEAD": lambda: self._head_blob(request, at),
            "GET": lambda: self._get_blob(request, at),
        }
        if (writes := self._writes) is not None:
            methods["DELETE"] = lambda: writes.delete_blob(request, at.repository, at.digest)
        return methods

    def _manifest(self, request: web.Request, at: ManifestPath) -> dict[str, Answering]:
        methods: dict[str, Answering] = dict.fromkeys(_READ_METHODS, lambda: self._get_manifest(request, at))
        if (writes := self._writes) is not None:
            methods["PUT"] = lambda: writes.put_manifest(request, at.repository, at.reference)
            methods["DELETE"] = lambda: writes.delete_manifest(request, at.repository, at.reference)
        return methods

    def _uploads(self, request: web.Request, at: UploadsPath) -> dict[str, Answering]:
        if (writes := self._writes) is None:
            return {}
        return {"POST": lambda: writes.begin_upload(request, at.repository)}

    def _upload(self, request: web.Request, at: UploadPath) -> dict[str, Answering]:
        if (writes := self._writes) is None:
            return {}
        return {
            "GET": lambda: writes.status(request, at.repository, at.session),
            "PATCH": lambda: writes.append(request, at.repository, at.session),
            "PUT": lambda: writes.commit(request, at.repository, at.session),
            "DELETE": lambda: writes.cancel(request, at.repository, at.session),
        }

    async def _head_blob(self, request: web.Request, at: BlobPath) -> web.StreamResponse:
        size = await self._reads.blob_size(at.repository, at.digest)
        if _has_already(request, at.digest):
            return web.Response(status=304, headers=_identity(at.digest))
        return web.Response(headers=blob_answer({}, at.digest, size).headers)

    async def _get_blob(self, request: web.Request, at: BlobPath) -> web.StreamResponse:
        size = await self._reads.blob_size(at.repository, at.digest)
        if _has_already(request, at.digest):
            return web.Response(status=304, headers=_identity(at.digest))
        answer = blob_answer(request.headers, at.digest, size)
        response = await self._reads.blob_response(request, at.repository, at.digest, answer)
        await self._pulled(request, Pulled(at.repository, at.digest, size))
        return response

    async def _get_manifest(self, request: web.Request, at: ManifestPath) -> web.StreamResponse:
        record = await self._reads.resolve(at.repository, at.reference)
        if _has_already(request, record.digest):
            return web.Response(status=304, headers=_identity(record.digest))
        headers = _manifest_headers(record)
        if request.method == "HEAD":
            return web.Response(headers={**headers, "Content-Length": str(record.size)})
        data = await self._reads.manifest_bytes(at.repository, record)
        await self._pulled(request, Pulled(at.repository, record.digest, record.size, record.media_type, at.reference))
        return web.Response(body=data, headers=headers)

    async def _pulled(self, request: web.Request, what: Pulled) -> None:
        if self._on_pull is not None:
            await self._on_pull(request, what)

    async def _tags(self, request: web.Request, at: TagsPath) -> web.StreamResponse:
        page = _page(request)
        answer = await self._reads.tags(at.repository, page)
        headers = {"Content-Type": "application/json"}
        if answer.more and answer.names and page.limit:
            headers["Link"] = next_link(f"/v2/{at.repository}/tags/list", page.limit, answer.names[-1])
        body = msgspec.json.encode({"name": str(at.repository), "tags": list(answer.names)})
        return web.Response(body=body, headers=headers)

    async def _catalog(self, request: web.Request) -> web.StreamResponse:
        page = _page(request)
        answer = await self._reads.repositories(page)
        headers = {"Content-Type": "application/json"}
        if answer.more and answer.names and page.limit:
            headers["Link"] = next_link("/v2/_catalog", page.limit, answer.names[-1])
        return web.Response(body=msgspec.json.encode({"repositories": list(answer.names)}), headers=headers)

    async def _referrers(self, request: web.Request, at: ReferrersPath) -> web.StreamResponse:
        """The list is never unknown, only empty; and what older clients wrote into the fallback tag is in it."""
        artifact_type = request.query.get("artifactType") or None
        after = _after(request)
        known = await self._reads.referrers(at.repository, at.subject)
        fallback = await self._fallback(at, {it.record.digest for it in known})
        page = referrers_page([*known, *fallback], artifact_type, after)
        headers = {"Content-Type": OCI_INDEX}
        if artifact_type is not None:
            headers["OCI-Filters-Applied"] = "artifactType"
        if page.last is not None:
            path = referrers_location(at.repository, at.subject)
            headers["Link"] = next_referrers_link(path, artifact_type, page.last)
        return web.Response(body=page.body, headers=headers)

    async def _fallback(self, at: ReferrersPath, known: Collection[Digest]) -> Sequence[Referrer]:
        """What a client has listed under the fallback tag, is not known, and is there: deletes do not correct it."""
        with suppress(NotFound, Invalid):  # whoever moved that tag to something else has no list there
            record = await self._reads.resolve(at.repository, fallback_tag(at.subject))
            listed = referrers_of_index(await self._reads.manifest_bytes(at.repository, record))
            others = [it for it in listed if it.record.digest not in known]
            there = await self._those_there(at.repository, [it.record.digest for it in others])
            return [it for it in others if it.record.digest in there]
        return ()

    async def _those_there(self, repository: RepositoryName, manifests: Sequence[Digest]) -> set[Digest]:
        async def is_there(digest: Digest) -> bool:
            with suppress(NotFound):
                return (await self._reads.resolve(repository, digest)).digest == digest
            return False

        there: set[Digest] = set()
        for at in range(0, len(manifests), _ASKED_AT_ONCE):
            batch = manifests[at : at + _ASKED_AT_ONCE]
            there |= set(compress(batch, await asyncio.gather(*map(is_there, batch))))
        return there


def blob_answer(headers: Mapping[str, str], digest: Digest, size: int) -> BlobAnswer:
    """How to answer a GET of a blob of `size` bytes.

    Args: headers, those of the request.
    Raises: RegistryError, a 416 that tells the size, when the range asked for holds nothing.
    """
    try:
        span = requested_range(_range_if_current(headers, digest), size)
    except Unsatisfiable as error:
        told = {"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"}
        raise RegistryError(Code.SIZE_INVALID, str(error), status=416, headers=told) from error
    common = {**_identity(digest), "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    if span is None:
        return BlobAnswer(200, {**common, "Content-Length": str(size)}, size, ByteRange(0, size))
    content_range = f"bytes {span.start}-{span.stop - 1}/{size}"
    partial = {**common, "Content-Length": str(span.length), "Content-Range": content_range}
    return BlobAnswer(206, partial, size, span)


def error_response(error: RegistryError) -> web.Response:
    """The answer to a request that ended in `error`."""
    headers = {**error.headers, "Content-Type": "application/json"}
    return web.Response(status=error.status, body=error.body(), headers=headers)


async def _on_prepare(request: web.Request, response: web.StreamResponse) -> None:
    request[_STARTED] = True
    if request.path.startswith("/v2"):
        response.headers.update(API_VERSION)
        if _NAMESPACE in request:
            response.headers["OCI-Namespace"] = request[_NAMESPACE]


async def _by_method(request: web.Request, methods: Mapping[str, Answering]) -> web.StreamResponse:
    answering = methods.get(request.method)
    if answering is None:
        allowed = ", ".join(methods) or ", ".join(_READ_METHODS)
        raise RegistryError(
            Code.UNSUPPORTED, f"{request.method[:20]} is not supported here", headers={"Allow": allowed}
        )
    return await answering()


async def _base() -> web.StreamResponse:
    return web.Response(body=b"{}", headers={"Content-Type": "application/json"})


def _page(request: web.Request) -> PageRequest:
    try:
        return parse_page(request.query.get("n"), request.query.get("last"))
    except Invalid as error:
        # No code of the list is about paging; this one says that the parameters are not supported.
        raise RegistryError(Code.UNSUPPORTED, str(error), status=400) from error


def _after(request: web.Request) -> Digest | None:
    last = request.query.get("last")
    try:
        return None if last is None else Digest.parse(last)
    except Invalid as error:
        raise RegistryError(Code.DIGEST_INVALID, f"last: {error}") from error


def _blame(endpoint: Endpoint, method: str) -> Blame:
    match endpoint:
        case Base() | BlobPath():
            return BLOB_READ
        case ManifestPath():
            return MANIFEST_READ if method in _READ_METHODS else MANIFEST_WRITE
        case UploadsPath() | UploadPath():
            return UPLOAD
        case TagsPath() | CatalogPath():
            return TAGS_READ
        case ReferrersPath():
            return MANIFEST_READ
        case _:
            assert_never(endpoint)


def _identity(digest: Digest) -> dict[str, str]:
    return {"Docker-Content-Digest": str(digest), "ETag": f'"{digest}"'}


def _manifest_headers(record: ManifestRecord) -> dict[str, str]:
    return {**_identity(record.digest), "Content-Type": record.media_type}


def _has_already(request: web.Request, digest: Digest) -> bool:
    """Whether an If-None-Match, of one line or several, names what we would send (RFC 9110, section 13.1.2)."""
    listed = ",".join(request.headers.getall("If-None-Match", ()))
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in listed.split(",")]
    return "*" in tags or str(digest) in tags


def _range_if_current(headers: Mapping[str, str], digest: Digest) -> str | None:
    """The Range header, unless an If-Range says that it is about other bytes than these."""
    condition = headers.get("If-Range")
    if condition is not None and condition.strip().strip('"') != str(digest):
        return None
    return headers.get("Range")
