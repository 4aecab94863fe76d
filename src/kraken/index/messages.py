"""What travels between an index node and its clients: JSON, checked where it arrives.

Versions travel as text. A row that was removed travels without its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

import msgspec

from kraken.core.digest import Digest
from kraken.core.errors import Invalid
from kraken.core.pieces import MAX_BLOB_SIZE
from kraken.index.records import Entry, NewManifest, Removal, TagRows, Write
from kraken.index.suspects import MAX_SUSPECTS, Kind, Need, Suspect
from kraken.index.versions import Version
from kraken.oci.manifests import MAX_DESCRIPTORS, ManifestRecord
from kraken.oci.references import RepositoryName, Tag
from kraken.oci.referrers import About, Referrer

T = TypeVar("T")

MAX_TAGS = 1000
"""Tags that one write may set."""

MAX_PAGE = 20_000
"""Tags of one answer; above every page of the registry API, plus the one that tells whether more follow."""

MAX_DIGESTS = MAX_DESCRIPTORS + 1
"""Digests of one question or write: all that a manifest may name, and its subject."""

_Text = Annotated[str, msgspec.Meta(max_length=512)]
_Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_BLOB_SIZE)]
_Digests = Annotated[list[_Text], msgspec.Meta(max_length=MAX_DIGESTS)]
_Tags = Annotated[list[_Text], msgspec.Meta(max_length=MAX_TAGS)]


class AboutBody(msgspec.Struct, frozen=True):
    """An `About`."""

    subject: _Text
    artifact_type: _Text
    annotations: dict[str, str]


class RecordBody(msgspec.Struct, frozen=True):
    """A `ManifestRecord`."""

    digest: _Text
    media_type: _Text
    size: _Size


class NewManifestBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """A `NewManifest`."""

    record: RecordBody
    needs: _Digests
    about: AboutBody | None = None


class WriteBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """POST /writes: a `Write`."""

    repository: _Text
    version: _Text
    manifest: NewManifestBody | None = None
    tags: Annotated[dict[_Text, _Text], msgspec.Meta(max_length=MAX_TAGS)] = {}
    links: Annotated[dict[_Text, _Size], msgspec.Meta(max_length=MAX_DIGESTS)] = {}
    children: Annotated[list[RecordBody], msgspec.Meta(max_length=MAX_DIGESTS)] = []
    removed_tags: _Tags = []
    removed_manifests: _Digests = []
    removed_links: _Digests = []


class WriteAnswer(msgspec.Struct, frozen=True):
    """The greatest version that stands after the write."""

    version: _Text


class ManifestEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """GET /manifests: an `Entry` of a manifest."""

    version: _Text
    record: RecordBody | None = None


class DigestsBody(msgspec.Struct, frozen=True):
    """A question about digests, of one repository where it says so."""

    digests: _Digests
    repository: _Text = ""


class ManifestsAnswer(msgspec.Struct, frozen=True):
    """POST /manifests/known: the rows that there are, by digest."""

    manifests: dict[_Text, ManifestEntry]


class LinkEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """An `Entry` of a blob: its size in bytes."""

    version: _Text
    size: _Size | None = None


class LinksAnswer(msgspec.Struct, frozen=True):
    """POST /links/known: the rows that there are, by digest."""

    links: dict[_Text, LinkEntry]


class UsedAnswer(msgspec.Struct, frozen=True):
    """POST /used: those digests that any repository has."""

    digests: list[_Text]


class TagsAnswer(msgspec.Struct, frozen=True):
    """GET /tags and /tags/of: tag, version, and whether it exists; see `TagRows`."""

    tags: list[tuple[_Text, _Text, bool]]
    more: bool = False
    exists: bool = True


class ReferrerEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """An `Entry` of a `Referrer`."""

    digest: _Text
    version: _Text
    record: RecordBody | None = None
    artifact_type: _Text = ""
    annotations: dict[str, str] = {}


class ReferrersAnswer(msgspec.Struct, frozen=True):
    """GET /referrers."""

    referrers: list[ReferrerEntry]


class RepositoriesAnswer(msgspec.Struct, frozen=True):
    """GET /repositories."""

    repositories: list[_Text]


class SuspectBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """A `Suspect`."""

    kind: Kind
    repository: _Text
    name: _Text
    version: _Text
    subject: _Text | None = None


class SuspectsBody(msgspec.Struct, frozen=True):
    """POST /garbage/needed and /garbage/removed: suspects, which the answers call by their numbers from 0."""

    suspects: Annotated[list[SuspectBody], msgspec.Meta(max_length=MAX_SUSPECTS)]


class NeedsAnswer(msgspec.Struct, frozen=True):
    """POST /garbage/needed: the number of a suspect, and kind, name and version of what needs it."""

    needs: list[tuple[int, Kind, _Text, _Text]]


class KeptAnswer(msgspec.Struct, frozen=True):
    """POST /garbage/removed: the numbers of those that were written later, and stay."""

    kept: list[int]


def write_to_wire(write: Write) -> WriteBody:
    manifest = None
    if (new := write.manifest) is not None:
        about = None
        if new.about is not None:
            about = AboutBody(str(new.about.subject), new.about.artifact_type, dict(new.about.annotations))
        manifest = NewManifestBody(_record_to_wire(new.record), _texts(new.needs), about)
    return WriteBody(
        str(write.repository),
        str(write.version),
        manifest,
        {str(tag): str(meant) for tag, meant in write.tags.items()},
        {str(digest): size for digest, size in write.links.items()},
        list(map(_record_to_wire, write.children)),
        _texts(write.removed.tags),
        _texts(write.removed.manifests),
        _texts(write.removed.links),
    )


def write_from_wire(body: WriteBody) -> Write:
    """Raises: Invalid, when a part of it is malformed."""
    manifest = None
    if (new := body.manifest) is not None:
        about = None
        if new.about is not None:
            about = About(Digest.parse(new.about.subject), new.about.artifact_type, new.about.annotations)
        manifest = NewManifest(_record_from_wire(new.record), tuple(map(Digest.parse, new.needs)), about)
    return Write(
        RepositoryName(body.repository),
        Version.parse(body.version),
        manifest,
        {Tag(tag): Digest.parse(meant) for tag, meant in body.tags.items()},
        {Digest.parse(digest): size for digest, size in body.links.items()},
        tuple(map(_record_from_wire, body.children)),
        Removal(
            tuple(map(Tag, body.removed_tags)),
            tuple(map(Digest.parse, body.removed_manifests)),
            tuple(map(Digest.parse, body.removed_links)),
        ),
    )


def manifest_to_wire(entry: Entry[ManifestRecord]) -> ManifestEntry:
    return ManifestEntry(str(entry.version), None if entry.value is None else _record_to_wire(entry.value))


def manifest_from_wire(body: ManifestEntry) -> Entry[ManifestRecord]:
    """Raises: Invalid, when a part of it is malformed."""
    return Entry(None if body.record is None else _record_from_wire(body.record), Version.parse(body.version))


def link_to_wire(entry: Entry[int]) -> LinkEntry:
    return LinkEntry(str(entry.version), entry.value)


def link_from_wire(body: LinkEntry) -> Entry[int]:
    """Raises: Invalid, when the version is none."""
    return Entry(body.size, Version.parse(body.version))


def tags_to_wire(found: TagRows) -> TagsAnswer:
    rows = [(tag, str(entry.version), entry.value is not None) for tag, entry in found.rows]
    return TagsAnswer(rows, found.more, found.exists)


def tags_from_wire(answer: TagsAnswer) -> TagRows:
    """Raises: Invalid, when a part of it is malformed."""
    rows: list[tuple[str, Entry[bool]]] = [
        (Tag(tag).text, Entry(exists or None, Version.parse(version))) for tag, version, exists in answer.tags
    ]
    return TagRows(rows, answer.more, answer.exists)


def referrer_to_wire(digest: Digest, entry: Entry[Referrer]) -> ReferrerEntry:
    if (referrer := entry.value) is None:
        return ReferrerEntry(str(digest), str(entry.version))
    record, annotations = _record_to_wire(referrer.record), dict(referrer.annotations)
    return ReferrerEntry(str(digest), str(entry.version), record, referrer.artifact_type, annotations)


def referrer_from_wire(body: ReferrerEntry) -> tuple[Digest, Entry[Referrer]]:
    """Raises: Invalid, when a part of it is malformed."""
    value = None
    if body.record is not None:
        value = Referrer(_record_from_wire(body.record), body.artifact_type, body.annotations)
    return Digest.parse(body.digest), Entry(value, Version.parse(body.version))


def suspects_to_wire(suspects: Sequence[Suspect]) -> SuspectsBody:
    return SuspectsBody(
        [
            SuspectBody(
                it.kind,
                str(it.repository),
                it.name,
                str(it.version),
                None if it.subject is None else str(it.subject),
            )
            for it in suspects
        ]
    )


def suspects_from_wire(body: SuspectsBody) -> list[Suspect]:
    """Raises: Invalid, when a part of one is malformed."""
    return [
        Suspect(
            it.kind,
            RepositoryName(it.repository),
            str(Tag(it.name) if it.kind is Kind.TAG else Digest.parse(it.name)),
            Version.parse(it.version),
            None if it.subject is None else Digest.parse(it.subject),
        )
        for it in body.suspects
    ]


def needs_to_wire(needs: Sequence[Sequence[Need]]) -> NeedsAnswer:
    return NeedsAnswer(
        [(number, it.kind, it.name, str(it.version)) for number, told in enumerate(needs) for it in told]
    )


def needs_from_wire(answer: NeedsAnswer, count: int) -> list[list[Need]]:
    """What was told of `count` suspects. Raises: Invalid, when a part of it is malformed, or of another suspect."""
    needs: list[list[Need]] = [[] for _ in range(count)]
    for number, kind, name, version in answer.needs:
        if not 0 <= number < count:
            raise Invalid(f"there is no suspect {number} of {count}")
        needs[number].append(Need(kind, name, Version.parse(version)))
    return needs


def decode(data: bytes, kind: type[T]) -> T:
    """A body of a request. Raises: Invalid, for anything else."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the body is not what this path takes: {error}") from error


def _texts(values: tuple[Tag, ...] | tuple[Digest, ...]) -> list[str]:
    return list(map(str, values))


def _record_to_wire(record: ManifestRecord) -> RecordBody:
    return RecordBody(str(record.digest), record.media_type, record.size)


def _record_from_wire(body: RecordBody) -> ManifestRecord:
    return ManifestRecord(Digest.parse(body.digest), body.media_type, body.size)
