"""Metainfo: what a peer must know to fetch a blob piece by piece.

Encoded (all integers big-endian):

    4   magic "KRM1"
    1   length of the digest text, then the digest text in ASCII
    8   size in bytes
    4   piece length in bytes
    32  BLAKE3 hash of each piece, in order

The same bytes travel over HTTP and lie on disk beside the blob.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import NewType

from kraken.core.digest import Digest
from kraken.core.errors import Invalid
from kraken.core.pieces import BLOCK_LENGTH, MAX_BLOB_SIZE, PieceIndex, Pieces, piece_length_for

SwarmId = NewType("SwarmId", bytes)  # 20 bytes, made only by swarm_id() and at the wire

Combine = Callable[[bytes], bytes]
"""Joins the block hashes of one piece into its piece hash: 32 x n bytes -> 32 bytes."""

SWARM_ID_BYTES = 20
HASH_BYTES = 32

_MAGIC = b"KRM1"
_NUMBERS = struct.Struct(">QI")


def swarm_id(digest: Digest, size: int, piece_length: int) -> SwarmId:
    """The 20-byte name of the swarm that shares a blob.

    A function of what is known before any piece is hashed, so that every component computes the
    same one, even while the blob still streams into the cluster.
    """
    text = f"kraken/1\n{digest}\n{size}\n{piece_length}\n"
    return SwarmId(hashlib.sha256(text.encode("ascii")).digest()[:SWARM_ID_BYTES])


@dataclass(frozen=True, slots=True)
class Metainfo:
    """A blob's digest, its cut into pieces, and the hash of each piece.

    `piece_hashes` is the concatenation of 32-byte hashes. The hash of a piece is the BLAKE3 of the
    concatenated BLAKE3 hashes of its 256 KiB blocks, or the block's own hash where there is one
    block only: so a stream of unknown length is hashed once, as it passes, whatever its piece
    length turns out to be.
    """

    digest: Digest
    pieces: Pieces
    piece_hashes: bytes

    def __post_init__(self) -> None:
        if self.pieces.length > MAX_BLOB_SIZE:
            raise Invalid(f"{self.digest} claims {self.pieces.length} bytes; {MAX_BLOB_SIZE} is the limit")
        if self.pieces.piece_length != piece_length_for(self.pieces.length):
            raise Invalid(
                f"{self.digest}: pieces of {self.pieces.piece_length} bytes; "
                f"a blob of {self.pieces.length} is cut into {piece_length_for(self.pieces.length)}"
            )
        if len(self.piece_hashes) != self.pieces.count * HASH_BYTES:
            raise Invalid(f"{self.digest}: {len(self.piece_hashes)} bytes of hashes for {self.pieces.count} pieces")

    @property
    def size(self) -> int:
        """Bytes of the blob."""
        return self.pieces.length

    @property
    def swarm(self) -> SwarmId:
        return swarm_id(self.digest, self.size, self.pieces.piece_length)

    def piece_hash(self, piece: PieceIndex) -> bytes:
        """The 32 bytes that `piece` must hash to."""
        return self.piece_hashes[piece * HASH_BYTES : (piece + 1) * HASH_BYTES]

    def encode(self) -> bytes:
        name = str(self.digest).encode("ascii")
        numbers = _NUMBERS.pack(self.size, self.pieces.piece_length)
        return b"".join((_MAGIC, bytes([len(name)]), name, numbers, self.piece_hashes))

    @classmethod
    def decode(cls, data: bytes) -> Metainfo:
        """Admit metainfo that came from a disk or another component.

        Raises: Invalid, for anything that `encode` cannot have written.
        """
        if data[:4] != _MAGIC or len(data) < 5:
            raise Invalid("these bytes are no metainfo: they should begin with KRM1")
        name_end = 5 + data[4]
        hashes_at = name_end + _NUMBERS.size
        if len(data) < hashes_at:
            raise Invalid(f"metainfo cut short after {len(data)} bytes")
        try:
            name = data[5:name_end].decode("ascii")
        except UnicodeDecodeError as error:
            raise Invalid("the digest in this metainfo is not ASCII") from error
        size, piece_length = _NUMBERS.unpack(data[name_end:hashes_at])
        return cls(Digest.parse(name), Pieces(size, piece_length), data[hashes_at:])


def metainfo_from_blocks(digest: Digest, size: int, block_hashes: bytes, combine: Combine) -> Metainfo:
    """Metainfo of a blob whose 256 KiB blocks have been hashed as they passed.

    Args: block_hashes, 32 bytes for each block in order; combine, see `Combine`.
    Raises: Invalid, when the hashes are not as many as `size` needs.
    """
    blocks = -(-size // BLOCK_LENGTH)
    if len(block_hashes) != blocks * HASH_BYTES:
        raise Invalid(f"{len(block_hashes)} bytes of block hashes for {blocks} blocks")
    pieces = Pieces(size, piece_length_for(size))
    stride = pieces.piece_length // BLOCK_LENGTH * HASH_BYTES
    hashes = b"".join(combine(block_hashes[at : at + stride]) for at in range(0, len(block_hashes), stride))
    return Metainfo(digest, pieces, hashes)
