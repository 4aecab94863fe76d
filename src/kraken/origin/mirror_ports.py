"""What pulling through needs of the rest of the cluster, and of the registries that it reads from."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from kraken.core.digest import Digest
from kraken.core.metainfo import Metainfo
from kraken.oci.manifests import Manifest, ManifestRecord
from kraken.oci.namespaces import MirroredName
from kraken.oci.references import Reference, RepositoryName, Tag
from kraken.upstream.io.client import FetchedManifest
from kraken.upstream.resuming import Progress
from kraken.upstream.settings import UpstreamSettings


@dataclass(frozen=True, slots=True)
class KnownManifest:
    """What a reference last meant, and how many seconds ago its upstream was last known to agree."""

    record: ManifestRecord
    age_seconds: float


class Names(Protocol):
    """What the cluster knows of mirrored repositories, under the names that they have here."""

    async def resolve(self, repository: RepositoryName, reference: Reference) -> KnownManifest:
        """What a reference last meant. Raises: NotFound, when that was never known; Unavailable."""
        ...

    async def confirm(self, repository: RepositoryName, tag: Tag, record: ManifestRecord) -> None:
        """Let `tag` mean a manifest that the repository has, as of now: its upstream has just said so.

        Raises: Unavailable.
        """
        ...

    async def put(
        self, repository: RepositoryName, record: ManifestRecord, tags: Sequence[Tag], manifest: Manifest
    ) -> None:
        """Keep a manifest whose bytes are stored, and let `tags` mean it, as of now. Raises: Unavailable."""
        ...


class Blobs(Protocol):
    """The blobs of the cluster."""

    async def find(self, digest: Digest) -> Metainfo | None:
        """The metainfo of a blob that is here; None when it is not. Raises: Unavailable."""
        ...

    async def store(self, digest: Digest, chunks: AsyncIterator[bytes]) -> Metainfo:
        """Keep a blob as durably as one that was pushed.

        Raises: Rejected, when the bytes have another digest: nothing is kept then; OutOfSpace; Unavailable; and what
        `chunks` raises.
        """
        ...

    async def put(self, digest: Digest, data: bytes) -> Metainfo:
        """Keep a blob that lies in memory. Raises as `store` does."""
        ...


class Upstream(Protocol):
    """A registry that is read from. Raises: see `UpstreamRegistry`, which is one."""

    @property
    def settings(self) -> UpstreamSettings: ...

    async def head_manifest(
        self, repository: RepositoryName, reference: Reference, known: Digest | None = None
    ) -> Digest | None: ...

    async def get_manifest(self, repository: RepositoryName, reference: Reference) -> FetchedManifest: ...

    def stream_blob(
        self, repository: RepositoryName, digest: Digest, progress: Progress | None = None
    ) -> AsyncGenerator[bytes, None]: ...


class Upstreams(Protocol):
    """The registries that are mirrored."""

    def find(self, repository: RepositoryName) -> tuple[Upstream, MirroredName] | None:
        """Where a repository of this cluster comes from; None when it is no mirrored one."""
        ...
