"""The read side of a registry that mirrors others: what is missing or stale is first brought up to date.

The origins read from the upstreams and keep what they read like a push; after that, everything is read as always.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

from aiohttp import web

from kraken.core.digest import Digest
from kraken.core.errors import NotFound
from kraken.oci.io.ports import BlobAnswer, RegistryReads
from kraken.oci.manifests import ManifestRecord
from kraken.oci.mirroring import Mirroring
from kraken.oci.pages import NamePage, PageRequest
from kraken.oci.references import Reference, RepositoryName
from kraken.oci.referrers import Referrer
from kraken.runtime.web_client import NoAnswer

T = TypeVar("T")


class MirrorSource(Protocol):
    """Who reads from upstreams; `origin.mirror_client.MirrorClient` in earnest."""

    async def refresh(self, repository: RepositoryName, reference: Reference) -> None:
        """Let the index know what a reference means now.

        Raises: NotFound, when the upstream has no such thing or does not let us read it; NoAnswer, when no origin
        can be asked; Unavailable, when the upstream cannot be, and may not be served stale.
        """
        ...

    async def fetch(self, repository: RepositoryName, digest: Digest) -> None:
        """Let the cluster have a blob. Raises: NotFound; OutOfSpace; Unavailable."""
        ...


class MirroredReads:
    """`RegistryReads` over another one and the mirrors."""

    def __init__(self, inner: RegistryReads, source: MirrorSource, mirroring: Mirroring) -> None:
        self._inner = inner
        self._source = source
        self._mirroring = mirroring

    async def resolve(self, repository: RepositoryName, reference: Reference) -> ManifestRecord:
        return await self._found(repository, lambda name: self._resolve(name, reference))

    async def manifest_bytes(self, repository: RepositoryName, record: ManifestRecord) -> bytes:
        name = repository
        for other in self._mirroring.candidates(repository)[1:]:  # whose it is, when it may be somebody else's
            with suppress(NotFound):
                await self._inner.resolve(other, record.digest)
                name = other
        return await self._fetched(name, record.digest, lambda: self._inner.manifest_bytes(name, record))

    async def blob_size(self, repository: RepositoryName, digest: Digest) -> int:
        async def ask(name: RepositoryName) -> int:
            return await self._fetched(name, digest, lambda: self._inner.blob_size(name, digest))

        return await self._found(repository, ask)

    async def blob_response(
        self, request: web.Request, repository: RepositoryName, digest: Digest, answer: BlobAnswer
    ) -> web.StreamResponse:
        return await self._inner.blob_response(request, repository, digest, answer)

    async def tags(self, repository: RepositoryName, page: PageRequest) -> NamePage:
        return await self._found(repository, lambda name: self._inner.tags(name, page))

    async def referrers(self, repository: RepositoryName, subject: Digest) -> Sequence[Referrer]:
        return await self._inner.referrers(repository, subject)

    async def repositories(self, page: PageRequest) -> NamePage:
        return await self._inner.repositories(page)

    async def _found(self, repository: RepositoryName, ask: Callable[[RepositoryName], Awaitable[T]]) -> T:
        """The answer for the first name under which there is one. Raises: NotFound, when there is none."""
        *others, last = self._mirroring.candidates(repository)
        for name in others:
            with suppress(NotFound):
                return await ask(name)
        return await ask(last)

    async def _resolve(self, name: RepositoryName, reference: Reference) -> ManifestRecord:
        if not self._mirroring.is_mirrored(name):
            return await self._inner.resolve(name, reference)
        if isinstance(reference, Digest):  # which means the same for ever
            with suppress(NotFound):
                return await self._inner.resolve(name, reference)
        with suppress(NoAnswer):  # then what the index knows, or we, must do
            await self._source.refresh(name, reference)
        return await self._inner.resolve(name, reference)

    async def _fetched(self, name: RepositoryName, digest: Digest, read: Callable[[], Awaitable[T]]) -> T:
        """What `read` gives, after the blob was fetched if it was not here."""
        if not self._mirroring.is_mirrored(name):
            return await read()
        with suppress(NotFound):
            return await read()
        await self._source.fetch(name, digest)
        return await read()
