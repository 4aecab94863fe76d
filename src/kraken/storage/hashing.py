"""BLAKE3 over blocks and pieces: what finds a bad piece, and so the peer that sent it."""

from __future__ import annotations

from enum import Enum

from blake3 import blake3

from kraken.core.metainfo import HASH_BYTES
from kraken.core.pieces import BLOCK_LENGTH


class Verify(Enum):
    """What of a downloaded blob is checked: the hash of each piece alone, or then the digest of the whole as well."""

    BLOB = "blob"
    PIECES = "pieces"


def combine(block_hashes: bytes) -> bytes:
    """The hash of a piece from the hashes of its blocks, 32 bytes each; of one block, its own hash."""
    if len(block_hashes) == HASH_BYTES:
        return block_hashes
    return blake3(block_hashes).digest()


def piece_hash(piece: bytes | bytearray | memoryview) -> bytes:
    """The 32-byte hash of a whole piece that lies in memory."""
    if len(piece) <= BLOCK_LENGTH:
        return blake3(piece).digest()
    view = memoryview(piece)
    return combine(b"".join(blake3(view[at : at + BLOCK_LENGTH]).digest() for at in range(0, len(view), BLOCK_LENGTH)))


class BlockHasher:
    """Hashes the 256 KiB blocks of a stream that comes in chunks of any size."""

    def __init__(self) -> None:
        self._whole = bytearray()  # hashes of the blocks that are complete
        self._open = blake3()
        self._open_length = 0

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the stream."""
        view = memoryview(chunk)
        at = 0
        while at < len(view):
            step = min(BLOCK_LENGTH - self._open_length, len(view) - at)
            self._open.update(view[at : at + step])
            self._open_length += step
            at += step
            if self._open_length == BLOCK_LENGTH:
                self._close_block()

    def block_hashes(self) -> bytes:
        """32 bytes for each block so far, the last one possibly short; more updates may follow."""
        tail = self._open.digest() if self._open_length else b""
        return bytes(self._whole) + tail

    def _close_block(self) -> None:
        self._whole += self._open.digest()
        self._open = blake3()
        self._open_length = 0
