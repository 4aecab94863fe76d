"""Manifests: what they refer to, and which of them are accepted.

A manifest is stored byte for byte as it was pushed; nothing here ever encodes one again.
Sources: OCI image specification 1.1, manifest.md and image-index.md; Docker image manifest version 2, schema 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec

from kraken.core.digest import Digest
from kraken.core.errors import Invalid
from kraken.core.pieces import MAX_BLOB_SIZE, MIB

CLIENT_MANIFEST_BYTES = 4 * MIB
"""The size that every registry has to accept; most clients refuse larger ones."""

MAX_MANIFEST_BYTES = 64 * MIB
"""What no setting can exceed: manifests are read whole into memory."""

MAX_DESCRIPTORS = 10_000
"""Entries that one manifest may refer to. Each costs a look-up when it is pushed."""

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

_IMAGES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
_INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+"

_FOREIGN = (
    "application/vnd.docker.image.rootfs.foreign.",
    "application/vnd.oci.image.layer.nondistributable.",
)


@dataclass(frozen=True, slots=True)
class ManifestRecord:
    """What a registry must know to answer for a manifest without reading it. `size` is bytes."""

    digest: Digest
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference from a manifest to a blob or to another manifest. `size` is what it claims, in bytes."""

    digest: Digest
    media_type: str
    size: int

    @property
    def foreign(self) -> bool:
        """Whether this is a layer that must not be distributed, and so is not uploaded."""
        return self.media_type.startswith(_FOREIGN)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest refers to.

    `blobs` are config and layers, `children` the manifests of an index. `subject` is the manifest that this
    one is about; it need not exist. `artifact_type` is what referrers are filtered by: the manifest's own, else
    the type of an image's config; an index without one has none, the empty text.
    """

    media_type: str
    blobs: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str
    annotations: Mapping[str, str]

    @property
    def is_index(self) -> bool:
        return self.media_type in _INDEXES


def parse_manifest(data: bytes, content_type: str | None) -> Manifest:
    """Admit a manifest that a client pushes.

    Args: content_type, the header as it came, parameters included. Without it the body's `mediaType`
    counts, and without that what the body looks like.
    Raises: Invalid, when it is too large, is not one of the four known types, or the type given does not
    fit the body.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise Invalid(f"a manifest of {len(data)} bytes; {MAX_MANIFEST_BYTES} is the limit")
    body = _decode(data)
    media_type = _media_type(body, content_type)
    if body.schema_version != 2:
        raise Invalid(f"schemaVersion is {body.schema_version}; manifests of version 2 are accepted")
    return _index(body, media_type) if media_type in _INDEXES else _image(body, media_type)


def plain_media_type(header: str | None) -> str | None:
    """A Content-Type without its parameters; None when there is nothing in it."""
    if header is None:
        return None
    return header.partition(";")[0].strip().lower() or None


class _RawDescriptor(msgspec.Struct):
    digest: Annotated[str, msgspec.Meta(max_length=200)]
    size: Annotated[int, msgspec.Meta(ge=0, le=MAX_BLOB_SIZE)]
    media_type: Annotated[str, msgspec.Meta(max_length=255)] = msgspec.field(name="mediaType", default="")


_RawList = Annotated[list[_RawDescriptor], msgspec.Meta(max_length=MAX_DESCRIPTORS)]


class _RawManifest(msgspec.Struct):
    schema_version: int = msgspec.field(name="schemaVersion")
    media_type: str | None = msgspec.field(name="mediaType", default=None)
    config: _RawDescriptor | None = None
    layers: _RawList | None = None
    manifests: _RawList | None = None
    subject: _RawDescriptor | None = None
    artifact_type: Annotated[str, msgspec.Meta(max_length=255)] | None = msgspec.field(
        name="artifactType", default=None
    )
    annotations: dict[str, str] | None = None


_decoder = msgspec.json.Decoder(_RawManifest)


def _decode(data: bytes) -> _RawManifest:
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"this is not a manifest: {error}") from error


def _media_type(body: _RawManifest, content_type: str | None) -> str:
    given = plain_media_type(content_type)
    if given is not None and body.media_type is not None and given != body.media_type:
        raise Invalid(f"Content-Type says {given[:100]}, the manifest itself {body.media_type[:100]}")
    media_type = given or body.media_type or (OCI_INDEX if body.manifests is not None else OCI_MANIFEST)
    if media_type.startswith(_SCHEMA_1):
        raise Invalid("Docker's manifest schema 1 is obsolete and not accepted; push with a current client")
    if media_type not in _IMAGES and media_type not in _INDEXES:
        raise Invalid(f"{media_type[:100]!r} is not a type of manifest that is accepted here")
    return media_type


def _image(body: _RawManifest, media_type: str) -> Manifest:
    # A body that can be read as both kinds lets two clients see two images under one digest (CVE-2021-41190).
    if body.manifests is not None:
        raise Invalid("an image manifest must not have manifests")
    if body.config is None:
        raise Invalid("an image manifest needs a config")
    blobs = (_descriptor(body.config), *map(_descriptor, body.layers or ()))
    artifact_type = body.artifact_type or body.config.media_type
    return Manifest(media_type, blobs, (), _subject(body), artifact_type, body.annotations or {})


def _index(body: _RawManifest, media_type: str) -> Manifest:
    if body.config is not None or body.layers is not None:
        raise Invalid("an index must not have a config or layers")
    children = tuple(map(_descriptor, body.manifests or ()))
    return Manifest(media_type, (), children, _subject(body), body.artifact_type or "", body.annotations or {})


def _subject(body: _RawManifest) -> Descriptor | None:
    return None if body.subject is None else _descriptor(body.subject)


def _descriptor(raw: _RawDescriptor) -> Descriptor:
    return Descriptor(Digest.parse(raw.digest), raw.media_type, raw.size)
