"""The routes of an origin by which agents and proxies have it read from other registries.

POST /mirror/manifests?repository=&reference=   bring what the index knows of a reference up to date
POST /mirror/blobs?repository=&digest=          have a blob fetched; the answer says whether it is here, or coming
"""

from __future__ import annotations

from aiohttp import web

from kraken.core.digest import Digest
from kraken.core.errors import Invalid, Rejected
from kraken.oci.references import RepositoryName, parse_reference
from kraken.origin.messages import FetchAnswer, MirroredAnswer
from kraken.origin.mirror_blobs import StillFetching
from kraken.origin.mirror_names import IndexedNames
from kraken.origin.pull_through import PullThrough
from kraken.runtime.web import json_response


class MirrorRoutes:
    """Admits requests to pull-through."""

    def __init__(self, pull_through: PullThrough, names: IndexedNames) -> None:
        self._pull_through = pull_through
        self._names = names

    def add_to(self, app: web.Application) -> None:
        app.router.add_post("/mirror/manifests", self._manifest)
        app.router.add_post("/mirror/blobs", self._blob)

    async def _manifest(self, request: web.Request) -> web.Response:
        repository, text = _repository(request), request.query.get("reference", "")
        try:
            reference = parse_reference(text)
        except Invalid as error:
            raise Rejected(str(error)) from error
        record = await self._pull_through.resolve(repository, reference)
        return json_response(MirroredAnswer(str(record.digest)))

    async def _blob(self, request: web.Request) -> web.Response:
        repository = _repository(request)
        try:
            digest = Digest.parse(request.query.get("digest", ""))
        except Invalid as error:
            raise Rejected(str(error)) from error
        try:
            metainfo = await self._pull_through.fetch_blob(repository, digest)
        except StillFetching as coming:
            return json_response(FetchAnswer(is_here=False, told=str(coming)), status=202)
        await self._names.link(repository, metainfo)
        return json_response(FetchAnswer(is_here=True, told=""))


def _repository(request: web.Request) -> RepositoryName:
    try:
        return RepositoryName(request.query.get("repository", ""))
    except Invalid as error:
        raise Rejected(str(error)) from error
