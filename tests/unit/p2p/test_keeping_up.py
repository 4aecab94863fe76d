"""How many more requests than usual it takes to keep up with the agents around."""

from __future__ import annotations

import pytest

from kraken.p2p.keeping_up import KeepingUp


def after(keeping_up: KeepingUp, ours: int, theirs: int, neighbours: int = 10) -> int:
    """We gain so many pieces while each neighbour gains its own number of them."""
    for _ in range(neighbours):
        keeping_up.neighbour_gained(theirs)
    for _ in range(ours):
        keeping_up.gained(neighbours)
    return keeping_up.more


@pytest.mark.parametrize(("theirs", "more"), [(8, 1), (9, 1), (80, 1), (7, 0), (0, 0)])
def test_who_is_not_ahead_gets_one_more(theirs: int, more: int) -> None:
    assert after(KeepingUp(8), 8, theirs) == more


def test_there_is_a_limit_and_a_way_back() -> None:
    keeping_up = KeepingUp(3)

    assert [after(keeping_up, 8, 8) for _ in range(5)] == [1, 2, 3, 3, 3]
    assert [after(keeping_up, 8, 4) for _ in range(5)] == [2, 1, 0, 0, 0]


def test_who_has_no_neighbours_asks_for_no_more() -> None:
    assert after(KeepingUp(8), 80, 0, neighbours=0) == 0
