"""Whose connection goes when a host has no place for another."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from kraken.core.metainfo import SwarmId
from kraken.p2p.connection_budget import Crew, Link, givers, least_missed
from kraken.p2p.ledger import PeerKey

ONE, TWO, THREE, FOUR = (SwarmId(bytes([number]) * 20) for number in range(1, 5))
ANNA, BERT, CARL = PeerKey(1), PeerKey(2), PeerKey(3)


def test_who_fetches_takes_from_those_that_do_not_and_from_the_largest_first() -> None:
    others = [Crew(TWO, False, 1), Crew(THREE, True, 9), Crew(FOUR, False, 7)]

    assert givers(Crew(ONE, True, 0), others) == [FOUR, TWO, THREE]
    assert givers(Crew(ONE, True, 8), others) == [FOUR, TWO]


def test_who_does_not_fetch_takes_only_from_its_like_that_have_two_more() -> None:
    others = [Crew(TWO, False, 5), Crew(THREE, True, 20), Crew(FOUR, False, 4)]

    assert givers(Crew(ONE, False, 2), others) == [TWO, FOUR]
    assert givers(Crew(ONE, False, 3), others) == [TWO]
    assert givers(Crew(ONE, False, 4), others) == []


def test_a_swarm_without_connections_has_none_to_lose() -> None:
    assert givers(Crew(ONE, True, 0), [Crew(TWO, False, 0)]) == []


def test_the_connection_that_was_idle_for_longest_goes_and_never_one_with_a_piece_under_way() -> None:
    links = [Link(ANNA, True, 1.0), Link(BERT, False, 3.0), Link(CARL, False, 2.0)]

    assert least_missed(links) == CARL
    assert least_missed([Link(ANNA, True, 1.0)]) is None
    assert least_missed([]) is None


CREWS = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=8)


@settings(deadline=None)
@given(CREWS, st.lists(st.integers(0, 7), max_size=200))
def test_connections_are_never_taken_in_circles(crews: list[tuple[bool, int]], newcomers: list[int]) -> None:
    """Swarms that only take from each other come to rest: what moves makes the host more even, or fetch more."""
    fetching = {SwarmId(bytes([at]) * 20): crew[0] for at, crew in enumerate(crews)}
    connections = {swarm: crew[1] for swarm, crew in zip(fetching, crews, strict=True)}
    moves = 0

    for number in newcomers:
        swarm = SwarmId(bytes([number % len(crews)]) * 20)
        before = sum(connections.values())
        others = [Crew(each, fetching[each], connections[each]) for each in connections if each != swarm]
        takes_from = givers(Crew(swarm, fetching[swarm], connections[swarm]), others)
        if takes_from:
            loser = takes_from[0]
            assert fetching[swarm] or not fetching[loser]
            connections[swarm], connections[loser] = connections[swarm] + 1, connections[loser] - 1
            assert connections[loser] >= connections[swarm] or fetching[swarm] != fetching[loser]
            moves += 1
        assert sum(connections.values()) == before
    assert moves <= 2 * 8 * 6 * 8
