"""What the index keeps, and how a store of it behaves.

Three kinds of rows, each of a repository: manifests, the tags that mean them, and links: the blobs that may be
read there. A row has the version of its newest write and that of its newest removal, and exists while the write
is the newer one. Both only ever grow, so the order in which changes arrive does not matter, nor does it if one
arrives twice. Source: the last-writer-wins element set of Shapiro et al., "A comprehensive study of Convergent
and Commutative Replicated Data Types", 2011.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from kraken.core.digest import Digest
from kraken.index.versions import Version
from kraken.oci.manifests import Manifest, ManifestRecord
from kraken.oci.references import Reference, RepositoryName, Tag
from kraken.oci.referrers import About, Referrer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NewManifest:
    """A manifest that a repository has from now on.

    `needs` are the blobs and manifests that it names: what it needs is not garbage. `about` is set when the
    manifest is about another one.
    """

    record: ManifestRecord
    needs: tuple[Digest, ...] = ()
    about: About | None = None


@dataclass(frozen=True, slots=True)
class Removal:
    """What a repository has no longer. A manifest takes the tags that mean it along."""

    tags: tuple[Tag, ...] = ()
    manifests: tuple[Digest, ...] = ()
    links: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True)
class Write:
    """A change of one repository, all of one version.

    `tags` mean these manifests from now on, which it has or gets; `links` are blobs with their sizes in bytes, and
    `children` manifests that the new one names: the repository has them as of this version too, although nobody
    pushed them again. So a collector that saw them before this write does not take them from it; and of two that
    meet, a client's delete of a child and the push of an index that names it, the one with the later version stands.
    """

    repository: RepositoryName
    version: Version
    manifest: NewManifest | None = None
    tags: Mapping[Tag, Digest] = field(default_factory=dict)
    links: Mapping[Digest, int] = field(default_factory=dict)
    children: tuple[ManifestRecord, ...] = ()
    removed: Removal = field(default_factory=Removal)


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """What a node knows of a row, and since which version; `value` is None when it was removed."""

    value: T | None
    version: Version


@dataclass(frozen=True, slots=True)
class TagRows:
    """A stretch of a repository's tags in bytewise order, removed ones among them.

    `more` says that further ones follow the last of these; `exists`, whether the repository has any manifest.
    """

    rows: Sequence[tuple[str, Entry[bool]]]
    more: bool
    exists: bool


def new_manifest(record: ManifestRecord, manifest: Manifest) -> NewManifest:
    """A manifest that was parsed, as the index keeps it."""
    needs = dict.fromkeys(it.digest for it in (*manifest.blobs, *manifest.children))
    about = None
    if manifest.subject is not None:
        about = About(manifest.subject.digest, manifest.artifact_type, manifest.annotations)
    return NewManifest(record, tuple(needs), about)


def newest(entries: Iterable[Entry[T]]) -> Entry[T]:
    """The entry that stands, of those that several nodes have for one row; at least one must be given."""
    return max(entries, key=lambda entry: entry.version)


class IndexStore(Protocol):
    """The rows of one index node. What was never heard of is None, or not in the answer."""

    async def put(self, write: Write) -> Version:
        """Keep a change, durably.

        Returns: the greatest version that stands now among the rows that it is about: the write's own, unless
        one of them was changed later.
        """
        ...

    async def resolve(self, repository: RepositoryName, reference: Reference) -> Entry[ManifestRecord] | None:
        """What a reference means."""
        ...

    async def manifests(
        self, repository: RepositoryName, digests: Collection[Digest]
    ) -> Mapping[Digest, Entry[ManifestRecord]]:
        """What is known of these manifests in a repository."""
        ...

    async def links(self, repository: RepositoryName, digests: Collection[Digest]) -> Mapping[Digest, Entry[int]]:
        """What is known of these blobs in a repository: their sizes in bytes."""
        ...

    async def used(self, digests: Collection[Digest]) -> set[Digest]:
        """Which of these any repository has, as a blob or as a manifest."""
        ...

    async def tags(self, repository: RepositoryName, last: str | None, limit: int) -> TagRows | None:
        """The tags that sort bytewise after `last`, up to `limit` that exist."""
        ...

    async def tags_of(self, repository: RepositoryName, manifest: Digest) -> Sequence[tuple[str, Entry[bool]]]:
        """The tags that mean a manifest, or meant it when they were removed."""
        ...

    async def referrers(self, repository: RepositoryName, subject: Digest) -> Sequence[tuple[Digest, Entry[Referrer]]]:
        """The manifests of a repository that are about `subject`, in the order of their digests."""
        ...

    async def repositories(self, last: str | None, limit: int) -> Sequence[str]:
        """Up to `limit` repositories that have a manifest and sort bytewise after `last`."""
        ...

    async def close(self) -> None: ...
