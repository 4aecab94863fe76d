"""What an origin suggests to whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.core.pieces import PieceIndex
from kraken.p2p.bitfield import everything, members
from kraken.p2p.ledger import PeerKey
from kraken.p2p.suggestions import Lot, Suggestions

ONE, TWO, THREE = map(PeerKey, range(3))


def told(suggestions: Suggestions) -> dict[PeerKey, list[int]]:
    return {peer: list(members(pieces)) for peer, pieces in suggestions.due()}


def joined(suggestions: Suggestions, *peers: PeerKey) -> Suggestions:
    for peer in peers:
        suggestions.joined(peer)
    return suggestions


def test_peers_get_different_pieces_the_earliest_first() -> None:
    suggestions = joined(Suggestions(everything(100), Lot()), ONE, TWO)

    assert told(suggestions) == {ONE: [*range(8)], TWO: [*range(8, 16)]}
    assert told(suggestions) == {}


def test_each_of_many_peers_has_one_piece_to_fetch_and_gets_the_next_when_it_has_that() -> None:
    peers = [PeerKey(number) for number in range(24)]
    suggestions = joined(Suggestions(everything(100), Lot()), *peers)

    assert told(suggestions) == {peer: [number] for number, peer in enumerate(peers)}
    suggestions.arrived(peers[5], 1 << 5)
    assert told(suggestions) == {peers[5]: [24]}


def test_what_a_peer_had_to_fetch_falls_to_others_when_it_leaves() -> None:
    suggestions = joined(Suggestions(everything(40), Lot()), ONE, TWO)
    told(suggestions)
    suggestions.left(ONE)

    assert told(suggestions) == {TWO: [*range(8)]}


def test_when_all_peers_have_left_everything_begins_anew() -> None:
    suggestions = joined(Suggestions(everything(40), Lot()), ONE)
    suggestions.arrived(ONE, everything(40))
    assert told(suggestions) == {}
    suggestions.left(ONE)

    assert told(joined(suggestions, TWO)) == {TWO: [*range(16)]}


def test_a_peer_that_asks_for_a_piece_is_told_of_the_next_and_need_not_have_it_yet() -> None:
    suggestions = joined(Suggestions(everything(40), Lot()), *map(PeerKey, range(16)))
    told(suggestions)
    suggestions.asked(ONE, PieceIndex(0))

    assert told(suggestions) == {ONE: [16]}
    suggestions.left(ONE)
    assert told(joined(suggestions, PeerKey(20))) == {PeerKey(20): [0]}


def test_what_any_peer_is_known_to_have_is_suggested_to_nobody() -> None:
    suggestions = joined(Suggestions(everything(12), Lot()), ONE, TWO)
    suggestions.arrived(TWO, everything(8))

    assert told(suggestions) == {ONE: [8, 9, 10, 11]}


def test_of_what_peers_ask_for_the_earliest_goes_first_that_is_still_to_come_to_one_that_was_told_of_it() -> None:
    suggestions = joined(Suggestions(everything(100), Lot()), ONE, TWO)
    told(suggestions)  # pieces 0 to 15
    suggestions.asked(TWO, PieceIndex(9))
    suggestions.arrived(ONE, 1 << 3)

    assert suggestions.earliest_of(1 << 3 | 1 << 9 | 1 << 12 | 1 << 50) == 1 << 9
    assert suggestions.earliest_of(1 << 3 | 1 << 50) == 0


def test_an_origin_begins_with_its_own_lot_and_does_the_rest_after_it() -> None:
    suggestions = joined(Suggestions(everything(600), Lot(1, 3)), ONE)
    order: list[int] = []
    while new := told(suggestions):
        order += new[ONE]
        suggestions.arrived(ONE, sum(1 << piece for piece in new[ONE]))

    assert sorted(order) == [*range(600)]
    assert order[:4] == [1, 4, 7, 10]
    assert order[:192] == [*range(1, 577, 3)]


def test_what_a_peer_does_not_fetch_is_given_to_another_in_time() -> None:
    suggestions = joined(Suggestions(everything(500), Lot()), ONE, TWO)
    slow = told(suggestions)[ONE]
    given_to: list[int] = []
    suggestions.arrived(TWO, everything(16) & ~everything(8))
    while new := told(suggestions):
        given_to += new[TWO]
        suggestions.arrived(TWO, sum(1 << piece for piece in new[TWO]))

    assert set(slow) < set(given_to)
    assert given_to.index(slow[0]) < 100
    assert sorted(given_to) == [*range(8), *range(16, 500)]


@pytest.mark.parametrize("lot", [Lot(), Lot(0, 3), Lot(2, 3), Lot(4, 5)])
def test_a_lone_peer_is_told_of_everything(lot: Lot) -> None:
    suggestions = joined(Suggestions(everything(50), lot), ONE)
    seen = 0
    while new := told(suggestions):
        for piece in new[ONE]:
            seen |= 1 << piece
            suggestions.arrived(ONE, 1 << piece)

    assert seen == everything(50)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["joined", "left", "fetched", "came"]), st.integers(0, 4), st.integers(0, 59)),
        max_size=60,
    ),
    lot=st.sampled_from([Lot(), Lot(1, 3)]),
)
def test_whatever_happens_each_piece_is_known_suggested_or_waiting(steps: list[tuple[str, int, int]], lot: Lot) -> None:
    """No piece is lost while peers come and go, and nobody is told twice what it has not fetched."""
    suggestions = Suggestions(everything(60), lot)
    there: set[PeerKey] = set()
    to_fetch: dict[PeerKey, set[int]] = {}
    known = 0
    for what, number, piece in steps:
        peer = PeerKey(number)
        if what == "joined" and peer not in there:
            suggestions.joined(peer)
            there.add(peer)
            to_fetch[peer] = set()
        elif what == "left" and peer in there:
            suggestions.left(peer)
            there.discard(peer)
            del to_fetch[peer]
            known = known if there else 0
        elif what in ("fetched", "came") and peer in there:
            pieces = {min(to_fetch[peer], default=piece)} if what == "fetched" else {piece}
            to_fetch[peer] -= pieces
            known |= sum(1 << it for it in pieces)
            suggestions.arrived(peer, sum(1 << it for it in pieces))
        for whom, new in told(suggestions).items():
            assert not to_fetch[whom] & set(new)
            assert not any(known >> it & 1 for it in new)
            to_fetch[whom] |= set(new)

    if there:
        last = min(there)
        for _ in range(200):
            for piece in list(to_fetch[last]):
                suggestions.arrived(last, 1 << piece)
                known |= 1 << piece
            to_fetch[last] = set(told(suggestions).get(last, []))
        waiting = {piece for pieces in to_fetch.values() for piece in pieces}
        assert everything(60) == known | sum(1 << piece for piece in waiting)
