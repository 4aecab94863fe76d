"""What travels between an index node and its clients: JSON, checked where it arrives."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from kraken.core.digest import Digest
from kraken.core.errors import Invalid
from kraken.core.pieces import MAX_BLOB_SIZE
from kraken.index.records import ManifestWrite, Resolved
from kraken.index.versions import Version
from kraken.oci.manifests import MAX_DESCRIPTORS, ManifestRecord
from kraken.oci.references import RepositoryName, Tag
from kraken.oci.referrers import About, Referrer

T = TypeVar("T")

MAX_TAGS = 1000
"""Tags that one write may set."""

MAX_PAGE = 20_000
"""Tags of one answer; above every page of the registry API, plus the one that tells whether more follow."""

_Text = Annotated[str, msgspec.Meta(max_length=512)]
_Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_BLOB_SIZE)]


class AboutBody(msgspec.Struct, frozen=True):
    """An `About`."""

    subject: _Text
    artifact_type: _Text
    annotations: dict[str, str]


class PutBody(msgspec.Struct, frozen=True):
    """POST /manifests: a `ManifestWrite`."""

    repository: _Text
    digest: _Text
    media_type: _Text
    size: _Size
    tags: Annotated[list[_Text], msgspec.Meta(max_length=MAX_TAGS)]
    version: _Text
    about: AboutBody | None = None


class PutAnswer(msgspec.Struct, frozen=True):
    """The greatest version that stands after the write."""

    version: _Text


class ResolvedAnswer(msgspec.Struct, frozen=True):
    """GET /manifests: a `Resolved`."""

    digest: _Text
    media_type: _Text
    size: _Size
    version: _Text


class KnownBody(msgspec.Struct, frozen=True):
    """POST /manifests/known: which of these does the repository have?"""

    repository: _Text
    digests: Annotated[list[_Text], msgspec.Meta(max_length=MAX_DESCRIPTORS)]


class KnownAnswer(msgspec.Struct, frozen=True):
    """Those that it has."""

    digests: list[_Text]


class TagsAnswer(msgspec.Struct, frozen=True):
    """GET /tags."""

    tags: list[_Text]


class ReferrerBody(msgspec.Struct, frozen=True):
    """A `Referrer`."""

    digest: _Text
    media_type: _Text
    size: _Size
    artifact_type: _Text
    annotations: dict[str, str]


class ReferrersAnswer(msgspec.Struct, frozen=True):
    """GET /referrers."""

    referrers: list[ReferrerBody]


class RepositoriesAnswer(msgspec.Struct, frozen=True):
    """GET /repositories."""

    repositories: list[_Text]


def write_to_wire(write: ManifestWrite) -> PutBody:
    record = write.record
    tags = [str(tag) for tag in write.tags]
    about = None
    if write.about is not None:
        about = AboutBody(str(write.about.subject), write.about.artifact_type, dict(write.about.annotations))
    name, digest, version = str(write.repository), str(record.digest), str(write.version)
    return PutBody(name, digest, record.media_type, record.size, tags, version, about)


def write_from_wire(body: PutBody) -> ManifestWrite:
    """Raises: Invalid, when a part of it is malformed."""
    record = ManifestRecord(Digest.parse(body.digest), body.media_type, body.size)
    tags = tuple(map(Tag, body.tags))
    about = None
    if body.about is not None:
        about = About(Digest.parse(body.about.subject), body.about.artifact_type, body.about.annotations)
    return ManifestWrite(RepositoryName(body.repository), record, tags, Version.parse(body.version), about)


def referrer_to_wire(referrer: Referrer) -> ReferrerBody:
    record = referrer.record
    annotations = dict(referrer.annotations)
    return ReferrerBody(str(record.digest), record.media_type, record.size, referrer.artifact_type, annotations)


def referrer_from_wire(body: ReferrerBody) -> Referrer:
    """Raises: Invalid, when a part of it is malformed."""
    record = ManifestRecord(Digest.parse(body.digest), body.media_type, body.size)
    return Referrer(record, body.artifact_type, body.annotations)


def resolved_to_wire(found: Resolved) -> ResolvedAnswer:
    record = found.record
    return ResolvedAnswer(str(record.digest), record.media_type, record.size, str(found.version))


def resolved_from_wire(answer: ResolvedAnswer) -> Resolved:
    """Raises: Invalid, when a part of it is malformed."""
    record = ManifestRecord(Digest.parse(answer.digest), answer.media_type, answer.size)
    return Resolved(record, Version.parse(answer.version))


def decode_put(data: bytes) -> PutBody:
    """Raises: Invalid, for anything but a write."""
    return _decode(data, PutBody)


def decode_known(data: bytes) -> KnownBody:
    """Raises: Invalid, for anything but such a question."""
    return _decode(data, KnownBody)


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the body is not what this path takes: {error}") from error
