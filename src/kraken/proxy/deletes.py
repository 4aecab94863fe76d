"""Deletes: what a repository has no longer. Bytes that nobody has any more are collected later."""

from __future__ import annotations

from collections.abc import Sequence

from kraken.core.digest import Digest
from kraken.core.errors import NotFound
from kraken.index.client import IndexClient
from kraken.observability.events import Event
from kraken.oci.errors import Code, RegistryError
from kraken.oci.references import Reference, RepositoryName, Tag
from kraken.proxy.observers import Observers
from kraken.proxy.settings import PushSettings

_OF_MANIFESTS = "GET, HEAD, PUT"
_OF_BLOBS = "GET, HEAD"
"""The methods that a 405 leaves."""


class Deletes:
    """Takes tags, manifests and blobs from repositories. Each is gone at once, through every proxy."""

    def __init__(self, indexes: IndexClient, observers: Observers, settings: PushSettings) -> None:
        self._indexes = indexes
        self._log = observers.log
        self._settings = settings

    async def delete_tag(self, repository: RepositoryName, tag: Tag) -> None:
        """Take a tag from a repository; what it means stays. Raises: NotFound; RegistryError; Unavailable."""
        self._check_allowed(_OF_MANIFESTS)
        await self._indexes.resolve(repository, tag)
        self._check_may_lose(repository, [tag])
        await self._indexes.remove(repository, tags=[tag])
        self._deleted("tag", repository, tag)

    async def delete_manifest(self, repository: RepositoryName, digest: Digest) -> None:
        """Take a manifest and all its tags from a repository. Raises: NotFound; RegistryError; Unavailable."""
        self._check_allowed(_OF_MANIFESTS)
        await self._indexes.resolve(repository, digest)
        if self._settings.immutable_tags:
            self._check_may_lose(repository, await self._indexes.tags_of(repository, digest))
        await self._indexes.remove(repository, manifests=[digest])
        self._deleted("manifest", repository, digest)

    async def delete_blob(self, repository: RepositoryName, digest: Digest) -> None:
        """Take a blob from a repository; others that have it keep it. Raises: NotFound; Unavailable."""
        self._check_allowed(_OF_BLOBS)
        if digest not in await self._indexes.links(repository, [digest]):
            raise NotFound(f"{repository} has no blob {digest}")
        await self._indexes.remove(repository, links=[digest])
        self._deleted("blob", repository, digest)

    def _check_allowed(self, others: str) -> None:
        if not self._settings.deletes:
            allowed = {"Allow": others}
            raise RegistryError(Code.UNSUPPORTED, "deleting is switched off here (push.deletes)", headers=allowed)

    def _check_may_lose(self, repository: RepositoryName, tags: Sequence[Tag]) -> None:
        for kept in self._settings.immutable(repository, tags):
            raise RegistryError(Code.DENIED, f"{repository}:{kept} is immutable and cannot be deleted")

    def _deleted(self, kind: str, repository: RepositoryName, name: Reference) -> None:
        self._log.info(Event.DELETED, kind=kind, repository=str(repository), name=str(name))
