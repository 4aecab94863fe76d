"""Requests, and when they are late."""

from __future__ import annotations

from kraken.core.pieces import PieceIndex
from kraken.p2p.ledger import Overdue, PeerKey, RequestLedger

ANNA, BERT = PeerKey(1), PeerKey(2)
ZERO, ONE = PieceIndex(0), PieceIndex(1)


def a_ledger() -> RequestLedger:
    return RequestLedger(floor=1.0, factor=4.0)


def test_a_request_is_overdue_exactly_at_its_deadline() -> None:
    ledger = a_ledger()
    ledger.asked(ANNA, ONE, now=100.0)

    assert ledger.next_deadline() == 101.0
    assert ledger.expire(now=100.9) == []
    assert ledger.expire(now=101.0) == [Overdue(ANNA, ONE)]


def test_patience_doubles_with_each_expiry_until_a_piece_comes() -> None:
    ledger = a_ledger()
    ledger.asked(ANNA, ONE, now=0.0)

    ledger.expire(now=1.0)
    assert ledger.next_deadline() == 3.0
    ledger.expire(now=3.0)
    assert ledger.timeout == 4.0
    ledger.arrived(ANNA, ONE, now=3.5)
    assert ledger.timeout == 4 * 3.5


def test_the_timeout_follows_the_median_of_what_pieces_take() -> None:
    ledger = a_ledger()
    for number, took in enumerate((0.5, 0.6, 9.0)):
        ledger.asked(ANNA, PieceIndex(number), now=0.0)
        assert ledger.arrived(ANNA, PieceIndex(number), now=took) == took

    assert ledger.timeout == 4 * 0.6


def test_where_times_are_uneven_nothing_is_late_before_twice_what_nearly_all_took() -> None:
    ledger = a_ledger()
    for number in range(32):
        ledger.asked(ANNA, PieceIndex(number), now=0.0)
        ledger.arrived(ANNA, PieceIndex(number), now=9.0 if number in {0, 5, 7} else 40.0 if number == 9 else 0.5)

    assert ledger.usual == 0.5
    assert ledger.timeout == 2 * 9.0, "one in 32 is not what nearly all take"
    ledger.hurry(True)
    assert ledger.timeout == 1.5 * 9.0


def test_a_piece_is_late_only_while_all_who_were_asked_for_it_are() -> None:
    ledger = a_ledger()
    ledger.asked(ANNA, ONE, now=0.0)
    ledger.expire(now=1.0)
    assert ledger.late == 0b10

    ledger.asked(BERT, ONE, now=1.0)
    assert ledger.late == 0
    assert ledger.askers(ONE) == [ANNA, BERT]


def test_at_the_end_a_request_is_late_after_twice_the_usual_time_whatever_the_floor() -> None:
    ledger = a_ledger()
    ledger.hurry(True)
    ledger.asked(ANNA, ZERO, now=0.0)
    assert ledger.next_deadline() == 1.0, "nobody knows yet what is usual"
    ledger.arrived(ANNA, ZERO, now=0.1)
    ledger.asked(ANNA, ONE, now=5.0)

    ledger.hurry(True)

    assert ledger.next_deadline() == 5.2
    assert ledger.expire(now=5.2) == [Overdue(ANNA, ONE)]
    ledger.hurry(False)
    ledger.asked(BERT, ZERO, now=6.0)
    assert ledger.next_deadline() == 5.2 + 2 * 0.2, "what is late already is not late later than it was to be"


def test_who_leaves_owes_nothing_any_more() -> None:
    ledger = a_ledger()
    ledger.asked(ANNA, ZERO, now=0.0)
    ledger.asked(ANNA, ONE, now=0.0)
    ledger.asked(BERT, ONE, now=0.0)

    ledger.left(ANNA)

    assert (ledger.total, ledger.count(ANNA), ledger.outstanding) == (1, 0, 0b10)
    assert ledger.asked_of(BERT) == 0b10


def test_what_was_not_asked_for_does_not_arrive() -> None:
    ledger = a_ledger()
    ledger.asked(ANNA, ONE, now=0.0)

    assert ledger.arrived(BERT, ONE, now=1.0) is None
    assert ledger.withdrawn(ANNA, ONE)
    assert not ledger.withdrawn(ANNA, ONE)
    assert ledger.arrived(ANNA, ONE, now=1.0) is None


def test_before_the_first_piece_no_request_is_late_within_a_second_for_the_link_may_be_slow() -> None:
    ledger = RequestLedger(floor=0.3, factor=4.0)
    assert ledger.timeout == 1.0

    ledger.asked(ANNA, ONE, now=0.0)
    ledger.arrived(ANNA, ONE, now=0.01)
    assert ledger.timeout == 0.3
