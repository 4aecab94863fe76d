"""The names of mirrored repositories, kept by the index like all others."""

from __future__ import annotations

from collections.abc import Sequence

from kraken.core.metainfo import Metainfo
from kraken.index.client import IndexClient
from kraken.oci.manifests import Manifest, ManifestRecord
from kraken.oci.references import Reference, RepositoryName, Tag
from kraken.origin.mirror_ports import KnownManifest
from kraken.runtime.clock import Clock


class IndexedNames:
    """The port `Names` of pull-through. When a tag was last confirmed is the version that it has in the index."""

    def __init__(self, index: IndexClient, clock: Clock) -> None:
        self._index = index
        self._clock = clock

    async def resolve(self, repository: RepositoryName, reference: Reference) -> KnownManifest:
        record, version = await self._index.lookup(repository, reference)
        age = self._clock.wall().timestamp() - version.milliseconds / 1000
        return KnownManifest(record, max(0.0, age))

    async def confirm(self, repository: RepositoryName, tag: Tag, record: ManifestRecord) -> None:
        await self._index.put_tag(repository, tag, record.digest)

    async def put(
        self, repository: RepositoryName, record: ManifestRecord, tags: Sequence[Tag], manifest: Manifest
    ) -> None:
        """What the manifest needs is the repository's as well, although most of it will come only when it is pulled."""
        links = {it.digest: it.size for it in manifest.blobs if not it.foreign}
        children = await self._index.manifests(repository, [it.digest for it in manifest.children])
        await self._index.put_manifest(repository, record, manifest, tags, links, children.values())

    async def link(self, repository: RepositoryName, metainfo: Metainfo) -> None:
        """Let a repository have a blob that was fetched for it. Raises: Unavailable."""
        await self._index.link(repository, {metainfo.digest: metainfo.size})
