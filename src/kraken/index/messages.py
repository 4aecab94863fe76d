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

T = TypeVar("T")

MAX_TAGS = 1000
"""Tags that one write may set."""

MAX_PAGE = 20_000
"""Tags of one answer; above every page of the registry API, plus the one that tells whether more follow."""

_Text = Annotated[str, msgspec.Meta(max_length=512)]
_Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_BLOB_SIZE)]


class PutBody(msgspec.Struct, frozen=True):
    """POST /manifests: a `ManifestWrite`."""

    repository: _Text
    digest: _Text
    media_type: _Text
    size: _Size
    tags: Annotated[list[_Text], msgspec.Meta(max_length=MAX_TAGS)]
    version: _Text


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


def write_to_wire(write: ManifestWrite) -> PutBody:
    record = write.record
    tags = [str(tag) for tag in write.tags]
    return PutBody(str(write.repository), str(record.digest), record.media_type, record.size, tags, str(write.version))


def write_from_wire(body: PutBody) -> ManifestWrite:
    """Raises: Invalid, when a part of it is malformed."""
    record = ManifestRecord(Digest.parse(body.digest), body.media_type, body.size)
    tags = tuple(map(Tag, body.tags))
    return ManifestWrite(RepositoryName(body.repository), record, tags, Version.parse(body.version))


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
