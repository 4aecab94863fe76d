"""A registry's read side in memory, and images to put into registries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from kraken.core.digest import Algorithm, Digest
from kraken.core.errors import NotFound
from kraken.oci.io.ports import BlobAnswer
from kraken.oci.manifests import OCI_INDEX, OCI_MANIFEST, ManifestRecord, parse_manifest
from kraken.oci.pages import NamePage, PageRequest
from kraken.oci.references import Reference, RepositoryName, Tag
from kraken.oci.referrers import Referrer


class MemoryReads:
    """Implements `RegistryReads` over dictionaries."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self.manifests: dict[RepositoryName, dict[Reference, ManifestRecord]] = {}
        self.about: dict[tuple[RepositoryName, Digest], list[Referrer]] = {}

    def add_blob(self, data: bytes, algorithm: Algorithm = Algorithm.SHA256) -> Digest:
        digest = Digest.of(data, algorithm)
        self.blobs[digest] = data
        return digest

    def add_manifest(self, repository: RepositoryName, data: bytes, media_type: str, *tags: str) -> ManifestRecord:
        record = ManifestRecord(self.add_blob(data), media_type, len(data))
        known = self.manifests.setdefault(repository, {})
        known[record.digest] = record
        known.update(dict.fromkeys(map(Tag, tags), record))
        manifest = parse_manifest(data, media_type)
        if manifest.subject is not None:
            referrer = Referrer(record, manifest.artifact_type, manifest.annotations)
            self.about.setdefault((repository, manifest.subject.digest), []).append(referrer)
        return record

    async def resolve(self, repository: RepositoryName, reference: Reference) -> ManifestRecord:
        try:
            return self.manifests[repository][reference]
        except KeyError:
            raise NotFound(f"{repository} has no manifest {reference}") from None

    async def manifest_bytes(self, _repository: RepositoryName, record: ManifestRecord) -> bytes:
        return self.blobs[record.digest]

    async def blob_size(self, _repository: RepositoryName, digest: Digest) -> int:
        try:
            return len(self.blobs[digest])
        except KeyError:
            raise NotFound(f"there is no blob {digest}") from None

    async def blob_response(
        self, request: web.Request, _repository: RepositoryName, digest: Digest, answer: BlobAnswer
    ) -> web.StreamResponse:
        response = answer.response()
        await response.prepare(request)
        await response.write(self.blobs[digest][answer.span.start : answer.span.stop])
        await response.write_eof()
        return response

    async def tags(self, repository: RepositoryName, page: PageRequest) -> NamePage:
        if repository not in self.manifests:
            raise NotFound(f"there is no repository {repository}")
        names = sorted(it.text for it in self.manifests[repository] if isinstance(it, Tag))
        left = [name for name in names if page.last is None or name > page.last]
        return NamePage(tuple(left[: page.limit]), more=len(left) > page.limit)

    async def referrers(self, repository: RepositoryName, subject: Digest) -> Sequence[Referrer]:
        return self.about.get((repository, subject), ())

    async def repositories(self, page: PageRequest) -> NamePage:
        left = sorted(it.text for it in self.manifests if page.last is None or it.text > page.last)
        return NamePage(tuple(left[: page.limit]), more=len(left) > page.limit)


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest and the blobs that it needs."""

    manifest: bytes
    media_type: str
    blobs: tuple[bytes, ...]

    @property
    def digest(self) -> Digest:
        return Digest.of(self.manifest)


def an_image(*layers: bytes, subject: Digest | None = None, note: str = "") -> Image:
    """An OCI image of these layers. Its JSON is written so that nobody would encode it again the same way."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "note": note}).encode()
    body: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [described(layer, "application/vnd.oci.image.layer.v1.tar") for layer in layers],
        "unknown": {"kept": True},
    }
    if subject is not None:
        body["subject"] = {"mediaType": OCI_MANIFEST, "digest": str(subject), "size": 2}
    return Image(json.dumps(body, indent=3).encode() + b"\n", OCI_MANIFEST, (config, *layers))


def an_index(*images: Image) -> Image:
    """An OCI index of these images."""
    manifests = [described(image.manifest, image.media_type) for image in images]
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    return Image(json.dumps(body).encode(), OCI_INDEX, ())


def described(data: bytes, media_type: str) -> dict[str, object]:
    """A descriptor of `data`."""
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}
