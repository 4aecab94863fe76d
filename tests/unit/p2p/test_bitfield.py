"""Piece sets as integers."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.core.errors import Invalid
from kraken.p2p import bitfield

counts = st.integers(1, 200)


@given(counts, st.data())
def test_a_bitfield_survives_the_wire(count: int, data: st.DataObject) -> None:
    pieces = data.draw(st.integers(0, bitfield.everything(count)))

    assert bitfield.from_wire(bitfield.to_wire(pieces, count), count) == pieces


def test_piece_0_is_the_high_bit_of_the_first_byte() -> None:
    assert bitfield.to_wire(0b1, 9) == b"\x80\x00"
    assert bitfield.to_wire(1 << 8, 9) == b"\x00\x80"


@pytest.mark.parametrize("payload", [b"", b"\xff", b"\xff\xff\xff", b"\xff\xc0"])
def test_a_bitfield_of_the_wrong_length_or_with_spare_bits_is_refused(payload: bytes) -> None:
    with pytest.raises(Invalid):
        bitfield.from_wire(payload, 9)


@given(st.sets(st.integers(0, 300), min_size=1), st.integers())
def test_sets_of_pieces_behave_like_sets(numbers: set[int], seed: int) -> None:
    pieces = sum(1 << number for number in numbers)

    assert list(bitfield.members(pieces)) == sorted(numbers)
    assert bitfield.lowest(pieces) == min(numbers)
    assert bitfield.any_of(pieces, random.Random(seed)) in numbers


@given(st.integers(0, 80), st.integers(0, 20), st.integers(1, 20))
def test_every_nth_is_what_range_says(count: int, first: int, step: int) -> None:
    assert list(bitfield.members(bitfield.every_nth(count, first, step))) == list(range(first, count, step))


@given(st.integers(0, 60), st.integers(0, 60))
def test_between_is_half_open(start: int, stop: int) -> None:
    assert list(bitfield.members(bitfield.between(start, stop))) == list(range(start, stop))


def test_the_first_gap_is_how_many_lead_without_one() -> None:
    assert [bitfield.first_gap(held) for held in (0b0, 0b1, 0b1011, 0b1111)] == [0, 1, 2, 4]
