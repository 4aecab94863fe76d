"""What an origin answers, as the bytes that travel."""

from __future__ import annotations

import msgspec

from kraken.core.digest import Digest
from kraken.core.errors import Corrupt, Invalid
from kraken.core.metainfo import Metainfo
from kraken.core.pieces import KIB, MIB

INLINE_LENGTH_HEADER = "Kraken-Inline-Length"
"""Bytes of the blob itself that follow its metainfo in the same answer."""

MAX_INLINE_BYTES = 64 * KIB
"""A blob up to this size, such as a manifest, travels with its metainfo: a swarm for it would only cost time."""

SMALL_BYTES = 256 * KIB
"""A blob up to this size is taken into memory whole, and sent to other origins without asking whether they have it."""

MAX_METAINFO_BYTES = 64 * MIB

MAX_STAT_DIGESTS = 4096


class OffsetAnswer(msgspec.Struct, frozen=True):
    """Where an upload session goes on."""

    offset: int


class CommitAnswer(msgspec.Struct, frozen=True):
    """A blob that is stored durably, on `replicas` of its owners so far."""

    digest: str
    size: int
    replicas: int


class StatRequest(msgspec.Struct, frozen=True):
    """Which of these blobs are here?"""

    digests: list[str]


class StatAnswer(msgspec.Struct, frozen=True):
    """The sizes of those that are, by digest."""

    sizes: dict[str, int]


class MirroredAnswer(msgspec.Struct, frozen=True):
    """What a reference of a mirrored repository means; the index says the same by now."""

    digest: str


class FetchAnswer(msgspec.Struct, frozen=True):
    """Whether a blob of a mirrored repository is in the cluster; if not, `told` says how far its fetch is."""

    is_here: bool
    told: str


def split_metainfo(digest: Digest, data: bytes, inline: int | None) -> tuple[Metainfo, bytes | None]:
    """The metainfo of a blob and the bytes that follow it, both checked.

    Args: inline, how many of the last bytes are the blob's own; None when there is metainfo only.
    Raises: Invalid, when it is other metainfo or wrongly cut; Corrupt, when the bytes are not the blob's.
    """
    if inline is None:
        metainfo, content = Metainfo.decode(data), None
    elif not 0 <= inline <= min(MAX_INLINE_BYTES, len(data)):
        raise Invalid(f"{inline} bytes of content in an answer of {len(data)}")
    else:
        metainfo, content = Metainfo.decode(data[: len(data) - inline]), data[len(data) - inline :]
    if metainfo.digest != digest:
        raise Invalid(f"the metainfo of {metainfo.digest} came for {digest}")
    if content is not None and Digest.of(content, digest.algorithm) != digest:
        raise Corrupt(f"the {len(content)} bytes that came with the metainfo are not {digest}")
    return metainfo, content
