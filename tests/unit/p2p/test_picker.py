"""Rarest first, and the reader's window."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from kraken.p2p.bitfield import everything, members
from kraken.p2p.picker import Availability, Picker


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

    rarest = availability.rarest(candidates)

    assert set(members(rarest)) == {piece for piece, count in holders.items() if count == min(holders.values())}


def test_what_nobody_holds_cannot_be_lost() -> None:
    availability = Availability()
    availability.gained(0b0110)
    availability.lost(0b0011)

    assert availability.rarest(0b0111) == 0b0011
    availability.gained(0b0001)
    assert availability.rarest(0b0111) == 0b0010


def test_a_crowd_takes_the_earliest_piece_of_the_window_in_its_share_of_picks() -> None:
    picker = Picker(reader_share=0.25, rng=random.Random(1))
    picker.availability.gained(everything(64))  # what the reader waits for is not rare

    picks = [picker.pick(everything(100), everything(64), in_order=False) for _ in range(2000)]

    assert 0.2 < picks.count(picks[0].__class__(0)) / len(picks) < 0.3
    assert all(pick == 0 or pick >= 64 for pick in picks)


def test_a_lone_reader_gets_its_pieces_in_order() -> None:
    picker = Picker(reader_share=0.25, rng=random.Random(1))

    assert [picker.pick(everything(100) & ~everything(n), everything(64), in_order=True) for n in range(5)] == [
        *range(5)
    ]


def test_one_seed_gives_one_run() -> None:
    runs = []
    for _ in range(2):
        picker = Picker(reader_share=0.25, rng=random.Random(7))
        runs.append([picker.pick(everything(500), everything(9), in_order=False) for _ in range(50)])

    assert runs[0] == runs[1]
