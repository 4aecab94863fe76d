"""The routes of an index node. Names travel in queries and bodies, never in paths.

POST /manifests                            a write; the answer has the version that stands now
GET  /manifests?repository=&reference=     what a tag or digest means
POST /manifests/known                      which of these digests a repository has
GET  /tags?repository=&last=&limit=        tags in bytewise order
GET  /referrers?repository=&subject=       the manifests that are about another one
GET  /repositories?last=&limit=            repositories in bytewise order
"""

from __future__ import annotations

from aiohttp import web

from kraken.core.digest import Digest
from kraken.core.errors import Invalid, NotFound
from kraken.index.messages import (
    MAX_PAGE,
    KnownAnswer,
    PutAnswer,
    ReferrersAnswer,
    RepositoriesAnswer,
    TagsAnswer,
    decode_known,
    decode_put,
    referrer_to_wire,
    resolved_to_wire,
    write_from_wire,
)
from kraken.index.records import IndexStore
from kraken.oci.references import RepositoryName, parse_reference
from kraken.runtime.web import json_response, read_body


class IndexRoutes:
    """Admits requests to a store."""

    def __init__(self, store: IndexStore, idle_seconds: float) -> None:
        self._store = store
        self._idle_seconds = idle_seconds

    def register(self, app: web.Application) -> None:
        """Add the routes to an application."""
        app.router.add_post("/manifests", self._put)
        app.router.add_get("/manifests", self._resolve)
        app.router.add_post("/manifests/known", self._known)
        app.router.add_get("/tags", self._tags)
        app.router.add_get("/referrers", self._referrers)
        app.router.add_get("/repositories", self._repositories)

    async def _put(self, request: web.Request) -> web.StreamResponse:
        write = write_from_wire(decode_put(await read_body(request, self._idle_seconds)))
        return json_response(PutAnswer(str(await self._store.put(write))))

    async def _resolve(self, request: web.Request) -> web.StreamResponse:
        repository = RepositoryName(_required(request, "repository"))
        reference = parse_reference(_required(request, "reference"))
        found = await self._store.resolve(repository, reference)
        if found is None:
            raise NotFound(f"{repository} has no manifest {reference}")
        return json_response(resolved_to_wire(found))

    async def _known(self, request: web.Request) -> web.StreamResponse:
        body = decode_known(await read_body(request, self._idle_seconds))
        digests = list(map(Digest.parse, body.digests))
        found = await self._store.known(RepositoryName(body.repository), digests)
        return json_response(KnownAnswer([str(digest) for digest in digests if digest in found]))

    async def _tags(self, request: web.Request) -> web.StreamResponse:
        repository = RepositoryName(_required(request, "repository"))
        tags = await self._store.tags(repository, request.query.get("last"), _limit(_required(request, "limit")))
        if tags is None:
            raise NotFound(f"there is no repository {repository}")
        return json_response(TagsAnswer(list(tags)))

    async def _referrers(self, request: web.Request) -> web.StreamResponse:
        repository = RepositoryName(_required(request, "repository"))
        found = await self._store.referrers(repository, Digest.parse(_required(request, "subject")))
        return json_response(ReferrersAnswer(list(map(referrer_to_wire, found))))

    async def _repositories(self, request: web.Request) -> web.StreamResponse:
        limit = _limit(_required(request, "limit"))
        return json_response(RepositoriesAnswer(list(await self._store.repositories(request.query.get("last"), limit))))


def _required(request: web.Request, name: str) -> str:
    value = request.query.get(name)
    if value is None:
        raise Invalid(f"the query lacks {name}")
    return value


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Invalid(f"limit={text[:40]!r} is not a number of tags")
    return min(int(text), MAX_PAGE)
