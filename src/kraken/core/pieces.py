"""How a blob is cut into pieces, and which pieces a range of bytes touches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NewType

from kraken.core.errors import Invalid

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

BLOCK_LENGTH = 256 * KIB
"""Bytes of one hash block: pieces are hashed over the hashes of these (see `metainfo`)."""

MAX_BLOB_SIZE = 2**48
"""Bytes. Larger declared sizes are refused before anything is allocated for them."""

PieceIndex = NewType("PieceIndex", int)  # made only by Pieces.index() and Pieces.indices()


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes start <= i < stop of a blob."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise Invalid(f"bytes {self.start} to {self.stop} are not a range")

    @property
    def length(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Pieces:
    """How a blob is cut: equal pieces, the last one possibly shorter. Both fields are bytes."""

    length: int
    piece_length: int

    def __post_init__(self) -> None:
        if self.length < 0 or self.piece_length < 1:
            raise Invalid(f"{self.length} bytes in pieces of {self.piece_length}")

    @property
    def count(self) -> int:
        return -(-self.length // self.piece_length)  # round up: a short tail is a piece too

    def index(self, number: int) -> PieceIndex:
        """Admit a piece number that came from outside.

        Args: number, as the peer sent it; any int, negative included.
        Returns: the same number, now known to satisfy 0 <= number < count.
        Raises: Invalid, when the blob has no such piece.
        Source: BEP 3, peer messages: the first byte of a bitfield is indices 0 to 7.
        """
        if 0 <= number < self.count:
            return PieceIndex(number)
        raise Invalid(f"piece {number} of a blob with {self.count}")

    def indices(self) -> Iterator[PieceIndex]:
        """Every piece of the blob, in order."""
        return map(PieceIndex, range(self.count))

    def start(self, piece: PieceIndex) -> int:
        """Offset in the blob of the piece's first byte."""
        return piece * self.piece_length

    def size(self, piece: PieceIndex) -> int:
        """Bytes of this piece; only the last may have fewer than `piece_length`."""
        return min(self.piece_length, self.length - piece * self.piece_length)

    def touched_by(self, span: ByteRange) -> range:
        """The piece numbers that hold bytes of `span`; empty for an empty span.

        Raises: Invalid, when the span reaches beyond the blob.
        """
        if span.stop > self.length:
            raise Invalid(f"bytes up to {span.stop} of a blob of {self.length}")
        if span.length == 0:
            return range(0)
        return range(span.start // self.piece_length, (span.stop - 1) // self.piece_length + 1)


def piece_length_for(size: int) -> int:
    """Bytes of a piece of a blob of `size` bytes.

    The next power of two at or above size/1024, within 256 KiB and 2 MiB; 4 MiB for blobs above 16 GiB,
    and 16 MiB above 64 GiB. The time lost to a swarm is 2.0 to 2.8 x log2(hosts) piece times whatever the
    size of the blob, so pieces shrink with the blob: about 1,000 pieces cost 3-4 % at 15,000 hosts, 256
    pieces at least 6 %. Below 256 KiB latency eats the gain; above 2 MiB the caches of the processor do,
    and a peer's buffers. See decision 18.
    """
    largest = 16 * MIB if size > 64 * GIB else 4 * MIB if size > 16 * GIB else 2 * MIB
    wanted = -(-size // 1024)
    return min(max(1 << max(wanted - 1, 0).bit_length(), BLOCK_LENGTH), largest)
