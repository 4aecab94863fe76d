"""The routes of an index node. Names travel in queries and bodies, never in paths.

POST /writes                               a change; the answer has the version that stands now
GET  /manifests?repository=&reference=     what a tag or digest means
POST /manifests/known                      what is known of these manifests in a repository
POST /links/known                          what is known of these blobs in a repository
POST /used                                 which of these digests any repository has
GET  /tags?repository=&last=&limit=        tags in bytewise order
GET  /tags/of?repository=&manifest=        the tags that mean a manifest
GET  /referrers?repository=&subject=       the manifests that are about another one
GET  /repositories?last=&limit=            repositories in bytewise order
GET  /garbage                              what may go, and why
POST /garbage                              remove it, here and at the other nodes; the answer says what went
POST /garbage/needed                       what is needed here of what another node takes for garbage
POST /garbage/removed                      what a majority lets go, and is to be removed here

A row that was removed is in the answers, with its version: only so can the answers of several nodes be compared.
"""

from __future__ import annotations

from aiohttp import web

from kraken.core.digest import Digest
from kraken.core.errors import Invalid, NotFound
from kraken.index.collector import Collector
from kraken.index.messages import (
    MAX_PAGE,
    DigestsBody,
    KeptAnswer,
    LinksAnswer,
    ManifestsAnswer,
    ReferrersAnswer,
    RepositoriesAnswer,
    SuspectsBody,
    UsedAnswer,
    WriteAnswer,
    WriteBody,
    decode,
    link_to_wire,
    manifest_to_wire,
    needs_to_wire,
    referrer_to_wire,
    suspects_from_wire,
    tags_to_wire,
    write_from_wire,
)
from kraken.index.records import IndexStore, TagRows
from kraken.index.suspects import Suspect
from kraken.oci.references import RepositoryName, parse_reference
from kraken.runtime.signs_of_life import with_signs_of_life
from kraken.runtime.web import json_response, read_body


class IndexRoutes:
    """Admits requests to a store."""

    def __init__(self, store: IndexStore, collector: Collector, idle_seconds: float) -> None:
        self._store = store
        self._collector = collector
        self._idle_seconds = idle_seconds

    def register(self, app: web.Application) -> None:
        """Add the routes to an application."""
        app.router.add_post("/writes", self._put)
        app.router.add_get("/manifests", self._resolve)
        app.router.add_post("/manifests/known", self._manifests)
        app.router.add_post("/links/known", self._links)
        app.router.add_post("/used", self._used)
        app.router.add_get("/tags", self._tags)
        app.router.add_get("/tags/of", self._tags_of)
        app.router.add_get("/referrers", self._referrers)
        app.router.add_get("/repositories", self._repositories)
        app.router.add_get("/garbage", self._garbage)
        app.router.add_post("/garbage", self._collect)
        app.router.add_post("/garbage/needed", self._needed)
        app.router.add_post("/garbage/removed", self._removed)

    async def _put(self, request: web.Request) -> web.StreamResponse:
        write = write_from_wire(decode(await read_body(request, self._idle_seconds), WriteBody))
        return json_response(WriteAnswer(str(await self._store.put(write))))

    async def _resolve(self, request: web.Request) -> web.StreamResponse:
        repository = _repository(request)
        reference = parse_reference(_required(request, "reference"))
        found = await self._store.resolve(repository, reference)
        if found is None:
            raise NotFound(f"{repository} has no manifest {reference}")
        return json_response(manifest_to_wire(found))

    async def _manifests(self, request: web.Request) -> web.StreamResponse:
        body, digests = await self._digests(request)
        found = await self._store.manifests(RepositoryName(body.repository), digests)
        return json_response(ManifestsAnswer({str(digest): manifest_to_wire(it) for digest, it in found.items()}))

    async def _links(self, request: web.Request) -> web.StreamResponse:
        body, digests = await self._digests(request)
        found = await self._store.links(RepositoryName(body.repository), digests)
        return json_response(LinksAnswer({str(digest): link_to_wire(it) for digest, it in found.items()}))

    async def _used(self, request: web.Request) -> web.StreamResponse:
        _body, digests = await self._digests(request)
        return json_response(UsedAnswer(list(map(str, await self._store.used(digests)))))

    async def _tags(self, request: web.Request) -> web.StreamResponse:
        repository, limit = _repository(request), _limit(_required(request, "limit"))
        found = await self._store.tags(repository, request.query.get("last"), limit)
        if found is None:
            raise NotFound(f"there is no repository {repository}")
        return json_response(tags_to_wire(found))

    async def _tags_of(self, request: web.Request) -> web.StreamResponse:
        rows = await self._store.tags_of(_repository(request), Digest.parse(_required(request, "manifest")))
        return json_response(tags_to_wire(TagRows(rows, more=False, exists=True)))

    async def _referrers(self, request: web.Request) -> web.StreamResponse:
        found = await self._store.referrers(_repository(request), Digest.parse(_required(request, "subject")))
        return json_response(ReferrersAnswer([referrer_to_wire(digest, entry) for digest, entry in found]))

    async def _repositories(self, request: web.Request) -> web.StreamResponse:
        limit = _limit(_required(request, "limit"))
        return json_response(RepositoriesAnswer(list(await self._store.repositories(request.query.get("last"), limit))))

    async def _garbage(self, request: web.Request) -> web.StreamResponse:
        return json_response(await with_signs_of_life(request, self._collector.look()))

    async def _collect(self, request: web.Request) -> web.StreamResponse:
        return json_response(await with_signs_of_life(request, self._collector.collect()))

    async def _needed(self, request: web.Request) -> web.StreamResponse:
        return json_response(needs_to_wire(await self._collector.needs(await self._suspects(request))))

    async def _removed(self, request: web.Request) -> web.StreamResponse:
        return json_response(KeptAnswer(sorted(await self._collector.remove(await self._suspects(request)))))

    async def _suspects(self, request: web.Request) -> list[Suspect]:
        return suspects_from_wire(decode(await read_body(request, self._idle_seconds), SuspectsBody))

    async def _digests(self, request: web.Request) -> tuple[DigestsBody, list[Digest]]:
        body = decode(await read_body(request, self._idle_seconds), DigestsBody)
        return body, list(map(Digest.parse, body.digests))


def _repository(request: web.Request) -> RepositoryName:
    return RepositoryName(_required(request, "repository"))


def _required(request: web.Request, name: str) -> str:
    value = request.query.get(name)
    if value is None:
        raise Invalid(f"the query lacks {name}")
    return value


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Invalid(f"limit={text[:40]!r} is not a number of tags")
    return min(int(text), MAX_PAGE)
