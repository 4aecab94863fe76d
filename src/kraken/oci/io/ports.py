"""What stands behind the registry's routes: the port of its read side, and that of its write side.

The agent implements the read side over its cache and the swarm, the proxy over the origins and the index
nodes; only the proxy has a write side.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from kraken.core.digest import Digest
from kraken.core.pieces import ByteRange
from kraken.oci.manifests import ManifestRecord
from kraken.oci.pages import NamePage, PageRequest
from kraken.oci.references import Reference, RepositoryName
from kraken.oci.referrers import Referrer
from kraken.oci.sessions import SessionId


@dataclass(frozen=True, slots=True)
class BlobAnswer:
    """How a GET of a blob is to be answered: status and headers as they are, and these bytes of the blob.

    `size` is that of the whole blob; `span` the bytes to send, all of it for status 200. The headers hold
    Content-Length, so the answer is never sent in chunks.
    """

    status: int
    headers: Mapping[str, str]
    size: int
    span: ByteRange

    def response(self) -> web.StreamResponse:
        """An answer to be prepared and then written to."""
        return web.StreamResponse(status=self.status, headers=self.headers)


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a client was given whole or in part: a blob, or a manifest, which has a `media_type` and a reference.

    `size` is that of the whole, in bytes.
    """

    repository: RepositoryName
    digest: Digest
    size: int
    media_type: str = ""
    reference: Reference | None = None


OnPull = Callable[[web.Request, Pulled], Awaitable[None]]
"""Somebody who wants to know of each pull."""


class RegistryReads(Protocol):
    """What can be read from a registry. Digests, names and tags that arrive here are well formed."""

    async def resolve(self, repository: RepositoryName, reference: Reference) -> ManifestRecord:
        """What a tag or digest stands for.

        Raises: NotFound, when the repository has no such manifest; Unavailable, when that cannot be known.
        """
        ...

    async def manifest_bytes(self, repository: RepositoryName, record: ManifestRecord) -> bytes:
        """The manifest itself, checked against its digest.

        Raises: NotFound; Unavailable.
        """
        ...

    async def blob_size(self, repository: RepositoryName, digest: Digest) -> int:
        """Bytes of a blob; nothing of it is fetched.

        Raises: NotFound; Unavailable.
        """
        ...

    async def blob_response(
        self, request: web.Request, repository: RepositoryName, digest: Digest, answer: BlobAnswer
    ) -> web.StreamResponse:
        """Answer a GET of a blob, as `answer` says, and send the bytes.

        Raises: NotFound or Unavailable, before the response is prepared. What fails later is raised as well:
        the connection is cut then, so that no client takes the part for the whole.
        """
        ...

    async def tags(self, repository: RepositoryName, page: PageRequest) -> NamePage:
        """Tags of a repository in bytewise order.

        Raises: NotFound, when there is no such repository; Unavailable.
        """
        ...

    async def referrers(self, repository: RepositoryName, subject: Digest) -> Sequence[Referrer]:
        """The manifests of a repository that are about `subject`, in any order; none is no error.

        Raises: Unavailable.
        """
        ...

    async def repositories(self, page: PageRequest) -> NamePage:
        """All repositories in bytewise order. Raises: Unavailable."""
        ...


class RegistryWrites(Protocol):
    """The requests that change a registry. Each answers its request whole, body included."""

    async def begin_upload(self, request: web.Request, repository: RepositoryName) -> web.StreamResponse:
        """POST: a new session, a whole blob, or a mount."""
        ...

    async def append(self, request: web.Request, repository: RepositoryName, session: SessionId) -> web.StreamResponse:
        """PATCH: a chunk or a stream."""
        ...

    async def commit(self, request: web.Request, repository: RepositoryName, session: SessionId) -> web.StreamResponse:
        """PUT: the end of an upload, perhaps with its last bytes."""
        ...

    async def status(self, request: web.Request, repository: RepositoryName, session: SessionId) -> web.StreamResponse:
        """GET: how much has arrived."""
        ...

    async def cancel(self, request: web.Request, repository: RepositoryName, session: SessionId) -> web.StreamResponse:
        """DELETE: drop the session."""
        ...

    async def put_manifest(
        self, request: web.Request, repository: RepositoryName, reference: Reference
    ) -> web.StreamResponse:
        """PUT of a manifest by tag or by digest."""
        ...

    async def delete_manifest(
        self, request: web.Request, repository: RepositoryName, reference: Reference
    ) -> web.StreamResponse:
        """DELETE of a tag, or of a manifest and its tags."""
        ...

    async def delete_blob(self, request: web.Request, repository: RepositoryName, digest: Digest) -> web.StreamResponse:
        """DELETE of a blob from a repository."""
        ...
