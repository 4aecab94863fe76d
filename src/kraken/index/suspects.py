"""What index nodes ask each other about before garbage goes: rows that one of them takes for garbage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from kraken.core.digest import Digest
from kraken.index.records import Removal, Write
from kraken.index.versions import Version
from kraken.oci.references import RepositoryName, Tag

MAX_SUSPECTS = 500
"""Rows of one question or removal; more of them would hold up the requests of pushes."""

MAX_NEEDS = 100
"""Needs that a node tells of one suspect. Who is told so many takes it for needed, whatever they are."""


class Kind(Enum):
    """What kind of row."""

    TAG = "tag"
    MANIFEST = "manifest"
    LINK = "blob"


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row that may be garbage: `version`, of the write that made it; `subject`, of a manifest about another one."""

    kind: Kind
    repository: RepositoryName
    name: str
    version: Version
    subject: Digest | None = None

    def removal(self) -> Write:
        """The change that removes it, unless somebody writes it meanwhile."""
        match self.kind:
            case Kind.TAG:
                removed = Removal(tags=(Tag(self.name),))
            case Kind.MANIFEST:
                removed = Removal(manifests=(Digest.parse(self.name),))
            case Kind.LINK:
                removed = Removal(links=(Digest.parse(self.name),))
        return Write(self.repository, self.version.collected, removed=removed)


@dataclass(frozen=True, slots=True)
class Need:
    """Why a node keeps a suspect: a row of its repository, and the newest version that the node has of that.

    The row may be the suspect itself, when it is young there.
    """

    kind: Kind
    name: str
    version: Version


class Nodes(Protocol):
    """All index nodes, with one voice. Raises: Unavailable, when no majority of them answers."""

    async def tag_versions(self, repository: RepositoryName) -> Mapping[str, Version]:
        """The tags that a repository has, and the version of each."""
        ...

    async def needs(self, suspects: Sequence[Suspect]) -> Sequence[Sequence[Need]]:
        """For each suspect, what those of a majority who keep it need it for. Args: up to MAX_SUSPECTS."""
        ...

    async def remove_suspects(self, suspects: Sequence[Suspect]) -> set[int]:
        """Remove suspects everywhere. Returns: the numbers of those that stay, for they were written meanwhile."""
        ...
