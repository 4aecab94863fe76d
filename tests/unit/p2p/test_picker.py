"""Rarest first, and the reader's window."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.core.pieces import PieceIndex
from kraken.p2p.bitfield import between, everything, first_gap, members
from kraken.p2p.picker import Availability, Picker, window_of


@given(st.lists(st.integers(0, everything(20)), max_size=12), st.data())
def test_the_rarest_are_those_that_a_count_says(peers: list[int], data: st.DataObject) -> None:
    availability = Availability()
    for pieces in peers:
        availability.gained(pieces)
    for gone in range(data.draw(st.integers(0, len(peers)))):
        availability.lost(peers[gone])
        peers[gone] = 0
    candidates = data.draw(st.integers(1, everything(20)))
    holders = {piece: sum(pieces >> piece & 1 for pieces in peers) for piece in members(candidates)}

    rarest, few = availability.rarest(candidates), availability.with_few_holders(candidates)

    assert set(members(rarest)) == {piece for piece, count in holders.items() if count == min(holders.values())}
    assert set(members(few)) == {piece for piece, count in holders.items() if count <= 3}
    assert set(members(availability.held & candidates)) == {piece for piece, count in holders.items() if count}


def test_what_nobody_holds_cannot_be_lost() -> None:
    availability = Availability()
    availability.gained(0b0110)
    availability.lost(0b0011)

    assert availability.rarest(0b0111) == 0b0011
    availability.gained(0b0001)
    assert availability.rarest(0b0111) == 0b0010


def test_a_crowd_takes_the_rarest_of_those_soon_due_and_leans_towards_the_reader() -> None:
    picker = Picker(window=64, rng=random.Random(1))
    picker.availability.gained(everything(64))  # what the reader waits for is not rare

    picks = [picker.pick(everything(100), [range(100)], in_order=False) for _ in range(2000)]

    assert max(picks) < 64
    assert sum(pick < 8 for pick in picks) > len(picks) / 2
    assert {32, 63} & set(picks)
    picker.availability.lost(1 << 5)
    assert [picker.pick(everything(100), [range(100)], in_order=False) for _ in range(2000)].count(PieceIndex(5)) > 900


@pytest.mark.parametrize(
    ("pieces", "crowd", "window"),
    [
        (1024, 0, 208),
        (1024, 244, 208),
        (1024, 249, 212),
        (1024, 390, 332),
        (1024, 401, 341),
        (1024, 100_000, 341),
        (4000, 0, 208),
        (4000, 1000, 852),
        (4000, 2**64, 1333),
        (80, 0, 20),
        (80, 300, 24),
        (80, 10_000, 26),
        (3, 0, 1),
        (3, 10_000, 1),
        (1, 10_000, 1),
        (0, 10_000, 1),
    ],
)
def test_a_window_grows_with_the_crowd_up_to_half_of_the_blob(pieces: int, crowd: int, window: int) -> None:
    assert window_of(208, pieces, crowd) == window


@given(st.integers(1, 4096), st.integers(0, 100_000), st.integers(0, 2**64), st.integers(0, 2**64))
def test_a_window_is_never_empty_and_never_shrinks_when_the_crowd_grows(
    most: int, pieces: int, one: int, other: int
) -> None:
    smaller, larger = (window_of(most, pieces, crowd) for crowd in sorted((one, other)))

    assert 1 <= window_of(most, pieces, 0) <= smaller <= larger <= max(pieces // 2, 1)


def test_what_no_reader_wants_soon_comes_when_nothing_else_is_to_be_had() -> None:
    picker = Picker(window=16, rng=random.Random(1))

    assert picker.pick(1 << 90, [range(100)], in_order=False) == 90
    assert picker.pick(1 << 90, [range(100)], in_order=True) == 90
    assert picker.pick(0b11 << 5, [range(6, 8)], in_order=False) == 6


def test_readers_at_several_places_are_all_served() -> None:
    picker = Picker(window=8, rng=random.Random(1))

    picks = {picker.pick(everything(100), [range(100), range(50, 100)], in_order=True) for _ in range(50)}

    assert picks == {0, 50}


def test_of_several_readers_the_first_gets_half_of_the_picks_and_its_share_of_the_rest() -> None:
    picker = Picker(window=25, rng=random.Random(1))
    quarters = [range(at, at + 25) for at in (50, 0, 75, 25)]

    picks = [picker.pick(everything(100), quarters, in_order=True) for _ in range(6000)]

    assert set(picks) == {0, 25, 50, 75}
    assert 3600 < picks.count(PieceIndex(0)) < 3900  # a half, and a quarter of the other
    assert all(650 < picks.count(PieceIndex(at)) < 850 for at in (25, 50, 75))


@pytest.mark.parametrize("seed", range(5))
def test_readers_of_four_quarters_leave_little_beyond_the_front_when_the_blob_is_nearly_here(seed: int) -> None:
    picker = Picker(window=256, rng=random.Random(seed))
    held, ends = 0, {at: at + 256 for at in (0, 256, 512, 768)}

    for _ in range(round(0.95 * 1024)):
        waiting = [range(first_gap(held >> at) + at, end) for at, end in ends.items()]
        held |= 1 << picker.pick(everything(1024) & ~held, waiting, in_order=True)

    assert first_gap(held) > 0.9 * 1024  # with equal shares it is a little less than a quarter


def test_a_reader_for_whom_nothing_is_to_be_had_takes_no_turn() -> None:
    picker = Picker(window=25, rng=random.Random(1))

    picks = {picker.pick(between(40, 60), [range(25), range(50, 75)], in_order=True) for _ in range(50)}

    assert picks == {50}
    assert picker.pick(1 << 90, [range(25), range(50, 75)], in_order=True) == 90


def test_a_lone_reader_gets_its_pieces_in_order() -> None:
    picker = Picker(window=64, rng=random.Random(1))

    assert [picker.pick(everything(100) & ~everything(n), [range(100)], in_order=True) for n in range(5)] == [*range(5)]


def test_one_seed_gives_one_run() -> None:
    runs = []
    for _ in range(2):
        picker = Picker(window=9, rng=random.Random(7))
        runs.append([picker.pick(everything(500), [range(500)], in_order=False) for _ in range(50)])

    assert runs[0] == runs[1]
