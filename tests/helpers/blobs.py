"""Builders of blobs and of the stores that keep them."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kraken.core.digest import Algorithm, Digest
from kraken.core.metainfo import Metainfo, metainfo_from_blocks
from kraken.core.pieces import BLOCK_LENGTH, PieceIndex
from kraken.storage.hashing import BlockHasher, combine


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes with their metainfo."""

    data: bytes
    metainfo: Metainfo

    @property
    def digest(self) -> Digest:
        return self.metainfo.digest

    def piece(self, piece: PieceIndex) -> memoryview:
        pieces = self.metainfo.pieces
        start = pieces.start(piece)
        return memoryview(self.data)[start : start + pieces.size(piece)]


def blob_of(data: bytes, algorithm: Algorithm = Algorithm.SHA256) -> Blob:
    """The blob that has these bytes."""
    blocks = BlockHasher()
    blocks.update(data)
    return Blob(data, metainfo_from_blocks(Digest.of(data, algorithm), len(data), blocks.block_hashes(), combine))


def a_blob(pieces: int = 3, *, tail: int = 1000, seed: int = 0, algorithm: Algorithm = Algorithm.SHA256) -> Blob:
    """A blob of so many pieces of 256 KiB, the last one of `tail` bytes."""
    data = random.Random(seed).randbytes((pieces - 1) * BLOCK_LENGTH + tail)
    return blob_of(data, algorithm)


async def stream_of(*chunks: bytes) -> AsyncIterator[bytes]:
    """The chunks, one after the other."""
    for chunk in chunks:
        yield chunk


async def broken_stream(chunks: Iterable[bytes], error: BaseException) -> AsyncIterator[bytes]:
    """The chunks, and then the error."""
    for chunk in chunks:
        yield chunk
    raise error


class ManualClock:
    """A `Clock` that moves when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds

    def wall(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def move(self, seconds: float) -> None:
        self.seconds += seconds
