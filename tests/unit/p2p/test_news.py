"""What came in, and who hears of it when."""

from __future__ import annotations

import pytest

from kraken.core.peers import PeerId, Role
from kraken.core.pieces import PieceIndex
from kraken.p2p.ledger import PeerKey
from kraken.p2p.neighbourhood import Neighbour, Neighbourhood
from kraken.p2p.news import SLOW_PIECE_SECONDS, News

ALL = 0b1111
GATHER = 0.002


@pytest.fixture
def around() -> Neighbourhood:
    return Neighbourhood(PeerId(b"m" * 20), "", 4)


@pytest.fixture
def news(around: Neighbourhood) -> News:
    return News(around, ALL, GATHER)


def joined(around: Neighbourhood, number: int, role: Role = Role.AGENT, pieces: int = 0) -> PeerKey:
    kind = around.kind_of(role, "")
    neighbour = Neighbour(PeerId(bytes([number]) * 20), role, True, None, choking=False, heard_at=0.0, kind=kind)
    neighbour.pieces = pieces
    around.joined(PeerKey(number), neighbour)
    return PeerKey(number)


def told(news: News, *, sparing: bool = False) -> dict[PeerKey, int]:
    orders = news.flush(waiting=3, sparing=sparing)
    assert all(order.waiting == 3 for order in orders)
    return {peer: order.pieces for order in orders for peer in order.peers}


def test_what_comes_within_a_moment_of_the_first_is_told_with_it(around: Neighbourhood, news: News) -> None:
    peer = joined(around, 1)
    assert news.flush_at is None
    news.verified(PieceIndex(0), now=1.0, apart=0.001)
    news.verified(PieceIndex(2), now=1.001, apart=0.001)
    assert news.flush_at == 1.0 + GATHER
    assert told(news) == {peer: 0b101}
    assert news.flush_at is None
    assert told(news) == {}


@pytest.mark.parametrize(("apart", "gathered"), [(SLOW_PIECE_SECONDS, 4 * SLOW_PIECE_SECONDS), (1.0, 0.5)])
def test_where_pieces_come_slowly_news_waits_for_four_of_them_but_half_a_second_at_most(
    news: News, apart: float, gathered: float
) -> None:
    news.verified(PieceIndex(0), now=1.0, apart=apart)
    assert news.flush_at == 1.0 + gathered


def test_who_has_everything_is_told_nothing(around: Neighbourhood, news: News) -> None:
    joined(around, 1, pieces=ALL)
    news.verified(PieceIndex(0), now=1.0, apart=0.0)
    assert told(news) == {}


def test_an_origin_hears_of_what_it_suggested(around: Neighbourhood, news: News) -> None:
    origin = joined(around, 1, Role.ORIGIN, pieces=ALL)
    around.peers[origin].suggested = 0b10
    news.verified(PieceIndex(0), now=1.0, apart=0.0)
    assert told(news) == {}
    news.verified(PieceIndex(1), now=2.0, apart=0.0)
    assert told(news) == {origin: 0b10}


def test_who_has_all_of_the_news_can_be_told_with_the_next_that_it_lacks(around: Neighbourhood, news: News) -> None:
    peer = joined(around, 1, pieces=0b01)
    news.verified(PieceIndex(0), now=1.0, apart=0.0)
    assert told(news, sparing=True) == {}
    news.verified(PieceIndex(1), now=2.0, apart=0.0)
    assert told(news, sparing=True) == {peer: 0b11}


def test_what_was_lost_again_meanwhile_is_not_told(around: Neighbourhood, news: News) -> None:
    joined(around, 1)
    news.verified(PieceIndex(0), now=1.0, apart=0.0)
    news.lost(PieceIndex(0))
    assert told(news) == {}
