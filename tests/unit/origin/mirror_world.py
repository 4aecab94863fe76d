"""A cluster and the registries that it mirrors, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field

from tests.helpers.blobs import ManualClock, blob_of
from tests.helpers.registry import Image

from kraken.core.digest import Digest
from kraken.core.errors import KrakenError, NotFound, Rejected, Unavailable
from kraken.core.metainfo import Metainfo
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.oci.manifests import Manifest, ManifestRecord
from kraken.oci.namespaces import MirroredName, Namespace, mirrored_name
from kraken.oci.references import Reference, RepositoryName, Tag
from kraken.origin.mirror_ports import KnownManifest, Upstream
from kraken.origin.pull_through import PullThrough
from kraken.upstream.io.client import FetchedManifest
from kraken.upstream.resuming import Progress
from kraken.upstream.settings import MirrorSettings, UpstreamSettings

LOCAL = RepositoryName("docker.io/library/app")
THERE = RepositoryName("library/app")
LATEST = Tag("latest")


class MemoryNames:
    """Implements `Names`. While `is_down` it takes no write."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.known: dict[tuple[RepositoryName, Reference], tuple[ManifestRecord, float]] = {}
        self.manifests: dict[Digest, Manifest] = {}
        self.is_down = False

    async def resolve(self, repository: RepositoryName, reference: Reference) -> KnownManifest:
        if (repository, reference) not in self.known:
            raise NotFound(f"{repository} has no manifest {reference}")
        record, at = self.known[repository, reference]
        return KnownManifest(record, self._clock.now() - at)

    async def confirm(self, repository: RepositoryName, tag: Tag, record: ManifestRecord) -> None:
        self._check()
        assert (repository, record.digest) in self.known, "only what the repository has can be meant"
        self.known[repository, tag] = (record, self._clock.now())

    async def put(
        self, repository: RepositoryName, record: ManifestRecord, tags: Sequence[Tag], manifest: Manifest
    ) -> None:
        self._check()
        self.manifests[record.digest] = manifest
        references: list[Reference] = [record.digest, *tags]
        for reference in references:
            self.known[repository, reference] = (record, self._clock.now())

    def _check(self) -> None:
        if self.is_down:
            raise Unavailable("no index node answers")


class MemoryBlobs:
    """Implements `Blobs`."""

    def __init__(self) -> None:
        self.data: dict[Digest, bytes] = {}

    async def find(self, digest: Digest) -> Metainfo | None:
        data = self.data.get(digest)
        return None if data is None else blob_of(data, digest.algorithm).metainfo

    async def store(self, digest: Digest, chunks: AsyncIterator[bytes]) -> Metainfo:
        data = b"".join([chunk async for chunk in chunks])
        blob = blob_of(data, digest.algorithm)
        if blob.digest != digest:
            raise Rejected(f"the {len(data)} bytes that were sent have the digest {blob.digest}, not {digest}")
        self.data[digest] = data
        return blob.metainfo

    async def put(self, digest: Digest, data: bytes) -> Metainfo:
        async def one() -> AsyncIterator[bytes]:
            yield data

        return await self.store(digest, one())


class MemoryUpstream:
    """Implements `Upstream`. `asked` has every request; `failure` is what each of them meets.

    It answers while `gate` is open, and sends the next chunk of a blob while `flow` is.
    """

    def __init__(self, settings: UpstreamSettings) -> None:
        self.settings = settings
        self.manifests: dict[tuple[RepositoryName, Reference], FetchedManifest] = {}
        self.blobs: dict[tuple[RepositoryName, Digest], list[bytes]] = {}
        self.asked: list[str] = []
        self.failure: KrakenError | None = None
        self.tells_digests = True
        self.gate, self.flow = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.flow.set()

    def add(self, image: Image, *references: Reference, content_type: str | None = None) -> Digest:
        digest = Digest.of(image.manifest)
        fetched = FetchedManifest(image.manifest, content_type or image.media_type, digest)
        for reference in (digest, *references):
            self.manifests[THERE, reference] = fetched
        return digest

    async def head_manifest(
        self, repository: RepositoryName, reference: Reference, known: Digest | None = None
    ) -> Digest | None:
        await self._ask(f"HEAD {reference}")
        digest = self._manifest(repository, reference).digest
        return digest if self.tells_digests else None

    async def get_manifest(self, repository: RepositoryName, reference: Reference) -> FetchedManifest:
        await self._ask(f"GET {reference}")
        return self._manifest(repository, reference)

    async def stream_blob(
        self, repository: RepositoryName, digest: Digest, progress: Progress | None = None
    ) -> AsyncGenerator[bytes, None]:
        assert progress is not None
        await self._ask(f"GET {repository} blob")
        if (repository, digest) not in self.blobs:
            raise NotFound(f"{repository} has no blob {digest}")
        chunks = self.blobs[repository, digest]
        progress.total = sum(map(len, chunks))
        for chunk in chunks:
            progress.received += len(chunk)
            yield chunk
            await self.flow.wait()

    async def _ask(self, what: str) -> None:
        self.asked.append(what)
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure

    def _manifest(self, repository: RepositoryName, reference: Reference) -> FetchedManifest:
        if (repository, reference) not in self.manifests:
            raise NotFound(f"{repository} has no manifest {reference}")
        return self.manifests[repository, reference]


@dataclass
class MirrorWorld:
    """Pull-through of Docker Hub, with everything around it in reach."""

    upstream_settings: UpstreamSettings = field(default_factory=lambda: UpstreamSettings("docker.io"))
    settings: MirrorSettings = field(default_factory=MirrorSettings)

    def __post_init__(self) -> None:
        self.clock = ManualClock()
        self.names = MemoryNames(self.clock)
        self.blobs = MemoryBlobs()
        self.upstream = MemoryUpstream(self.upstream_settings)
        self.metrics = Metrics("test", "mirror")
        log = get_logger("test", "mirror")
        self.service = PullThrough(self, self.names, self.blobs, self.settings, self.clock, log, self.metrics)

    def find(self, repository: RepositoryName) -> tuple[Upstream, MirroredName] | None:
        name = mirrored_name(repository)
        return None if name is None or name.namespace != Namespace("docker.io") else (self.upstream, name)

    async def resolved(self, reference: Reference = LATEST) -> Digest:
        return (await self.service.resolve(LOCAL, reference)).digest


async def turned() -> None:
    """Let every task run until it waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)
