"""Whose request is served, waits, or is turned down."""

from __future__ import annotations

from collections.abc import Iterable

from kraken.core.pieces import PieceIndex
from kraken.p2p.bitfield import set_of
from kraken.p2p.ledger import PeerKey
from kraken.p2p.upload_slots import BlockSpan, RejectSpan, SendSpan, UploadSlots

ANNA, BERT, CARL, DORA = map(PeerKey, range(1, 5))


def slots_of(count: int, rare: int = 0, first: int = 1) -> UploadSlots:
    """Slots for two requests of 100 bytes a peer. Pieces of `rare` go before others; a first piece takes `first`."""

    def sent_first(asked: Iterable[PieceIndex]) -> int:
        return set_of(asked) & rare

    return UploadSlots(count, bytes_per_peer=200, requests_per_peer=2, sent_first=sent_first, first_piece_slots=first)


def span(piece: int, length: int = 100) -> BlockSpan:
    return BlockSpan(PieceIndex(piece), 0, length)


def test_requests_are_served_in_order_of_arrival_one_for_a_peer_at_a_time() -> None:
    slots = slots_of(2)

    assert slots.requested(ANNA, span(0)) == [SendSpan(ANNA, span(0))]
    assert slots.requested(ANNA, span(1)) == []
    assert slots.requested(BERT, span(2)) == [SendSpan(BERT, span(2))]
    assert slots.requested(CARL, span(3)) == []
    assert slots.waiting == 4
    assert slots.sent(BERT) == [SendSpan(CARL, span(3))]
    assert slots.sent(ANNA) == [SendSpan(ANNA, span(1))]


def test_a_third_request_of_a_peer_is_rejected_at_once() -> None:
    slots = slots_of(8)
    slots.requested(ANNA, span(0))
    slots.requested(ANNA, span(1))

    assert slots.requested(ANNA, span(2)) == [RejectSpan(ANNA, span(2))]
    slots.sent(ANNA)
    assert slots.requested(ANNA, span(2)) == []


def test_small_blocks_may_be_as_many_as_two_pieces_hold() -> None:
    slots = slots_of(1)

    outcomes = [slots.requested(ANNA, span(0, 50)) for _ in range(5)]

    assert outcomes == [[SendSpan(ANNA, span(0, 50))], [], [], [], [RejectSpan(ANNA, span(0, 50))]]


def test_a_withdrawn_request_is_answered_by_a_reject_unless_it_is_being_sent() -> None:
    slots = slots_of(1)
    slots.requested(ANNA, span(0))
    slots.requested(BERT, span(1))

    assert slots.withdrawn(ANNA, span(0)) == []
    assert slots.withdrawn(BERT, span(1)) == [RejectSpan(BERT, span(1))]
    assert slots.sent(ANNA) == []


def test_who_leaves_makes_room() -> None:
    slots = slots_of(1)
    slots.requested(ANNA, span(0))
    slots.requested(ANNA, span(1))
    slots.requested(BERT, span(2))

    assert slots.left(ANNA) == [SendSpan(BERT, span(2))]
    assert slots.waiting == 1


def test_the_first_request_of_who_has_nothing_goes_before_all_others_and_its_second_does_not() -> None:
    slots = slots_of(1)
    slots.requested(ANNA, span(0))
    slots.requested(BERT, span(1))
    slots.requested(CARL, span(2), has_nothing=True)
    slots.requested(CARL, span(3), has_nothing=True)

    assert slots.waiting == 4
    assert slots.sent(ANNA) == [SendSpan(CARL, span(2))]
    assert slots.sent(CARL) == [SendSpan(BERT, span(1))]
    assert slots.sent(BERT) == [SendSpan(CARL, span(3))]


def test_who_asks_again_having_nothing_still_has_had_its_turn() -> None:
    slots = slots_of(1)
    slots.requested(CARL, span(2), has_nothing=True)
    slots.requested(ANNA, span(0))
    slots.sent(CARL)
    slots.requested(BERT, span(1))
    slots.requested(CARL, span(3), has_nothing=True)

    assert slots.sent(ANNA) == [SendSpan(BERT, span(1))]


def test_a_newcomer_may_withdraw_and_leave_like_anybody() -> None:
    slots = slots_of(1)
    slots.requested(ANNA, span(0))
    slots.requested(BERT, span(1), has_nothing=True)
    slots.requested(CARL, span(2), has_nothing=True)

    assert slots.withdrawn(BERT, span(1)) == [RejectSpan(BERT, span(1))]
    assert slots.left(CARL) == []
    assert slots.waiting == 1
    assert slots.sent(ANNA) == []


def test_what_is_rare_goes_before_what_waits_longer_but_not_before_a_newcomer() -> None:
    slots = slots_of(1, rare=0b1000)
    slots.requested(ANNA, span(0))
    slots.requested(BERT, span(1))
    slots.requested(CARL, span(3))
    slots.requested(DORA, span(2), has_nothing=True)

    assert slots.sent(ANNA) == [SendSpan(DORA, span(2))]
    assert slots.sent(DORA) == [SendSpan(CARL, span(3))]
    assert slots.sent(CARL) == [SendSpan(BERT, span(1))]


def test_what_is_rare_waits_while_something_else_is_sent_to_the_same_peer() -> None:
    slots = slots_of(2, rare=0b1000)
    slots.requested(ANNA, span(0))
    slots.requested(BERT, span(1))
    slots.requested(ANNA, span(3))
    slots.requested(CARL, span(2))

    assert slots.sent(BERT) == [SendSpan(CARL, span(2))]
    assert slots.sent(ANNA) == [SendSpan(ANNA, span(3))]


def test_a_newcomers_first_piece_takes_more_slots_than_another() -> None:
    slots = slots_of(4, first=3)

    assert slots.requested(ANNA, span(0), has_nothing=True) == [SendSpan(ANNA, span(0))]
    assert slots.requested(BERT, span(0), has_nothing=True) == [SendSpan(BERT, span(0))]  # one is free
    assert slots.requested(CARL, span(1)) == []
    assert slots.sent(ANNA) == [SendSpan(CARL, span(1))]
    assert slots.requested(DORA, span(2)) == []
    assert slots.left(BERT) == [SendSpan(DORA, span(2))]
