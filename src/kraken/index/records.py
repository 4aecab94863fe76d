"""What the index keeps, and how a store of it behaves.

A write never goes back: whoever comes with an older version than the stored one changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from kraken.core.digest import Digest
from kraken.index.versions import Version
from kraken.oci.manifests import ManifestRecord
from kraken.oci.references import Reference, RepositoryName, Tag
from kraken.oci.referrers import About, Referrer


@dataclass(frozen=True, slots=True)
class ManifestWrite:
    """A manifest that a repository has from now on, and the tags that mean it from now on.

    `about` is set when the manifest is about another one.
    """

    repository: RepositoryName
    record: ManifestRecord
    tags: tuple[Tag, ...]
    version: Version
    about: About | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a reference means, and since which version."""

    record: ManifestRecord
    version: Version


class IndexStore(Protocol):
    """Tags and manifests of one index node."""

    async def put(self, write: ManifestWrite) -> Version:
        """Keep the write, durably.

        Returns: the greatest version that stands now among its tags and its manifest: the write's own, unless
        one of them was written later.
        """
        ...

    async def resolve(self, repository: RepositoryName, reference: Reference) -> Resolved | None:
        """What a reference means; None when the repository has no such manifest or tag."""
        ...

    async def known(self, repository: RepositoryName, digests: Collection[Digest]) -> set[Digest]:
        """Which of these manifests the repository has."""
        ...

    async def tags(self, repository: RepositoryName, last: str | None, limit: int) -> Sequence[str] | None:
        """Up to `limit` tags that sort bytewise after `last`; None when there is no such repository."""
        ...

    async def referrers(self, repository: RepositoryName, subject: Digest) -> Sequence[Referrer]:
        """The manifests of a repository that are about `subject`, in the order of their digests."""
        ...

    async def repositories(self, last: str | None, limit: int) -> Sequence[str]:
        """Up to `limit` repositories that sort bytewise after `last`."""
        ...

    async def close(self) -> None: ...
