"""Referrers: the manifests that are about another one (signatures, SBOMs, ...), and how they are listed.

Source: OCI distribution specification 1.1, Listing referrers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

import msgspec

from kraken.core.digest import Digest
from kraken.core.errors import Invalid
from kraken.oci.manifests import CLIENT_MANIFEST_BYTES, OCI_INDEX, ManifestRecord
from kraken.oci.references import Tag

_FALLBACK_DIGITS = 64
"""Characters of a digest that a fallback tag has: with all of a sha512 it would be no tag."""


@dataclass(frozen=True, slots=True)
class About:
    """What a manifest says of the one that it is about.

    `artifact_type` is empty where the specification gives it none: an index without one.
    """

    subject: Digest
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Referrer:
    """A manifest that is about another one, as it is listed."""

    record: ManifestRecord
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReferrersPage:
    """An answer's body; `last` is the digest after which the list goes on, None when this is all."""

    body: bytes
    last: Digest | None


def fallback_tag(subject: Digest) -> Tag:
    """The tag under which clients kept the list themselves, where a registry had no referrers API.

    Source: OCI distribution specification 1.1, Referrers Tag Schema.
    """
    return Tag(f"{subject.algorithm.value}-{subject.encoded[:_FALLBACK_DIGITS]}")


def referrers_page(
    referrers: Iterable[Referrer],
    artifact_type: str | None,
    after: Digest | None,
    limit_bytes: int = CLIENT_MANIFEST_BYTES,
) -> ReferrersPage:
    """The image index that lists referrers in the order of their digests, each once.

    Args: artifact_type, only those of this type; after, only those that sort after this digest;
    limit_bytes, how long the answer may be: at least one referrer is always in it.
    """
    unique = {it.record.digest: it for it in referrers if artifact_type in (None, it.artifact_type)}
    entries: list[bytes] = []
    length = len(_body([]))
    last: Digest | None = None
    for digest in sorted(unique, key=str):
        if after is not None and str(digest) <= str(after):
            continue
        entry = msgspec.json.encode(_entry(unique[digest]))
        if entries and length + len(entry) + 1 > limit_bytes:
            return ReferrersPage(_body(entries), last)
        entries.append(entry)
        length += len(entry) + 1
        last = digest
    return ReferrersPage(_body(entries), None)


def next_referrers_link(path: str, artifact_type: str | None, last: Digest) -> str:
    """The Link header of a list that goes on after `last`."""
    query = {"last": str(last)} | ({} if artifact_type is None else {"artifactType": artifact_type})
    return f'<{path}?{urlencode(query)}>; rel="next"'


def referrers_of_index(data: bytes) -> Sequence[Referrer]:
    """The referrers that a fallback tag's index lists.

    Raises: Invalid, when it is no index.
    """
    try:
        listed = _fallbacks.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"this is not an index: {error}") from error
    return [_referrer(it) for it in listed.manifests]


class _Listed(msgspec.Struct, omit_defaults=True):
    media_type: str = msgspec.field(name="mediaType")
    size: int
    digest: str
    annotations: dict[str, str] | None = None
    artifact_type: str | None = msgspec.field(name="artifactType", default=None)


class _Fallback(msgspec.Struct):
    manifests: list[_Listed]


_fallbacks = msgspec.json.Decoder(_Fallback)


def _referrer(listed: _Listed) -> Referrer:
    record = ManifestRecord(Digest.parse(listed.digest), listed.media_type, listed.size)
    return Referrer(record, listed.artifact_type or "", listed.annotations or {})


def _entry(referrer: Referrer) -> _Listed:
    record = referrer.record
    annotations = dict(referrer.annotations) or None
    return _Listed(record.media_type, record.size, str(record.digest), annotations, referrer.artifact_type or None)


def _body(entries: Sequence[bytes]) -> bytes:
    head = f'{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":['.encode()
    return head + b",".join(entries) + b"]}"
