from __future__ import annotations

import random
from itertools import pairwise

from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from kraken.core.pieces import BLOCK_LENGTH
from kraken.storage.hashing import BlockHasher, combine, piece_hash

DATA = random.Random(1).randbytes(3 * BLOCK_LENGTH + 77)


def blocks_of(data: bytes) -> bytes:
    """The definition, written plainly."""
    return b"".join(blake3(data[at : at + BLOCK_LENGTH]).digest() for at in range(0, len(data), BLOCK_LENGTH))


@given(st.lists(st.integers(0, len(DATA)), max_size=8))
def test_block_hashes_do_not_depend_on_how_the_stream_is_cut(cuts: list[int]) -> None:
    hasher = BlockHasher()
    edges = [0, *sorted(cuts), len(DATA)]
    for start, stop in pairwise(edges):
        hasher.update(DATA[start:stop])

    assert hasher.block_hashes() == blocks_of(DATA)


def test_block_hashes_may_be_asked_for_on_the_way() -> None:
    hasher = BlockHasher()
    assert hasher.block_hashes() == b""
    hasher.update(DATA[:100])
    assert hasher.block_hashes() == blocks_of(DATA[:100])
    hasher.update(DATA[100:])
    assert hasher.block_hashes() == blocks_of(DATA)


def test_a_piece_of_one_block_has_the_hash_of_the_block() -> None:
    assert piece_hash(DATA[:BLOCK_LENGTH]) == blake3(DATA[:BLOCK_LENGTH]).digest()
    assert piece_hash(b"short") == blake3(b"short").digest()


def test_a_piece_of_several_blocks_has_the_hash_of_their_hashes() -> None:
    assert piece_hash(DATA) == blake3(blocks_of(DATA)).digest() == combine(blocks_of(DATA))
    assert piece_hash(memoryview(bytearray(DATA))) == piece_hash(DATA)
