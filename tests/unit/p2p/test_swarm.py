"""The swarm engine: what it asks of whom, and what it never does."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.swarm_world import World

from kraken.core.peers import Address, PeerId, Role
from kraken.core.pieces import KIB, PieceIndex, Pieces
from kraken.p2p.bitfield import everything, members
from kraken.p2p.dialing import Candidate, Dial
from kraken.p2p.events import (
    AllowanceChanged,
    AskPiece,
    AskTracker,
    BanPeer,
    BytesArrived,
    ClosePeer,
    DemandChanged,
    DialFailed,
    Event,
    PeerChoked,
    PeerHas,
    PeerJoined,
    PeerLeft,
    PeersOffered,
    PieceCorrupt,
    PieceDropped,
    PieceLost,
    PiecesSuggested,
    PieceVerified,
    ReaderLeft,
    ReaderMoved,
    RequestRejected,
    SpanRequested,
    SpanSent,
    SpanWithdrawn,
    SuggestPieces,
    TellHave,
    Tick,
    WithdrawAsk,
)
from kraken.p2p.ledger import PeerKey
from kraken.p2p.settings import SwarmSettings
from kraken.p2p.suggestions import Lot
from kraken.p2p.swarm import Swarm
from kraken.p2p.upload_slots import BlockSpan, RejectSpan, SendSpan

ANNA, BERT, ORIGIN = PeerKey(1), PeerKey(2), PeerKey(3)
COUNT = 200


def a_swarm(count: int = COUNT, held: int = 0, me: bytes = b"m", zone: str = "", lot: Lot | None = None) -> Swarm:
    pieces = Pieces(count * 256 * KIB, 256 * KIB)
    return Swarm(PeerId(me * 20), pieces, SwarmSettings(), random.Random(1), held, zone, lot)


def joined(
    swarm: Swarm, peer: PeerKey, pieces: int, role: Role = Role.AGENT, *, kraken: bool = True, zone: str = ""
) -> list[object]:
    swarm.handle(PeerJoined(peer, PeerId(bytes([peer]) * 20), role, kraken, None, zone=zone), 0.0)
    return [*swarm.handle(PeerHas(peer, pieces), 0.0)]


def suggestions(actions: list[object]) -> list[tuple[PeerKey, int]]:
    told = [action for action in actions if isinstance(action, SuggestPieces)]
    return [(action.peer, piece) for action in told for piece in members(action.pieces)]


def asked(actions: list[object]) -> list[tuple[PeerKey, int]]:
    return [(action.peer, action.piece) for action in actions if isinstance(action, AskPiece)]


def test_nothing_is_asked_for_until_somebody_wants_it() -> None:
    swarm = a_swarm()

    assert asked(joined(swarm, ANNA, everything(COUNT))) == []
    assert len(asked([*swarm.handle(DemandChanged(wanted=True), 0.0)])) == 2


def test_one_peer_is_asked_for_two_pieces_at_once_and_eleven_together_for_sixteen() -> None:
    swarm = a_swarm()
    swarm.handle(DemandChanged(wanted=True), 0.0)

    requests = [joined(swarm, PeerKey(key), everything(COUNT)) for key in range(1, 12)]

    assert [len(asked(actions)) for actions in requests] == [2] * 8 + [0] * 3


def test_who_has_more_connections_than_most_may_ask_for_more_pieces_in_proportion() -> None:
    swarm = a_swarm()
    swarm.handle(DemandChanged(wanted=True), 0.0)

    requests = [joined(swarm, PeerKey(key), everything(COUNT)) for key in range(1, 21)]

    assert [len(asked(actions)) for actions in requests] == [2] * 8 + [0] * 8 + [1] * 4


@pytest.mark.parametrize(("theirs", "in_all"), [(8, 18), (7, 16)])
def test_who_gains_no_more_than_its_neighbours_asks_for_more_pieces(theirs: int, in_all: int) -> None:
    swarm = a_swarm()
    lacking = everything(16) << COUNT - 16
    keys = [PeerKey(key) for key in range(1, 11)]
    for key in keys:
        joined(swarm, key, everything(COUNT) & ~lacking)
    pipeline = asked([*swarm.handle(DemandChanged(wanted=True), 0.0)])

    for gained in (everything(theirs) << COUNT - 16, everything(theirs) << COUNT - 8):
        for key in keys:
            swarm.handle(PeerHas(key, gained), 0.0)
        for _ in range(8):
            peer, piece = pipeline.pop(0)
            pipeline += asked([*swarm.handle(PieceVerified(peer, PieceIndex(piece)), 0.0)])

    assert swarm.requested == in_all


def test_a_peer_that_has_nothing_yet_is_sent_its_first_piece_before_others() -> None:
    swarm = a_swarm(held=everything(COUNT))
    joined(swarm, ANNA, 0)
    for key in range(10, 20):
        joined(swarm, PeerKey(key), 1)
        swarm.handle(SpanRequested(PeerKey(key), BlockSpan(PieceIndex(1), 0, 1)), 0.0)
    swarm.handle(SpanRequested(ANNA, BlockSpan(PieceIndex(2), 0, 1)), 0.0)

    assert swarm.handle(SpanSent(PeerKey(10)), 0.0) == [SendSpan(ANNA, BlockSpan(PieceIndex(2), 0, 1))]


@pytest.mark.parametrize(("count", "at_once"), [(129, 3), (128, 4)])
def test_the_first_pieces_of_newcomers_take_three_of_eight_slots_but_in_a_small_blob_one_of_four(
    count: int, at_once: int
) -> None:
    swarm = a_swarm(count, held=everything(count))
    sent = []
    for key in range(10, 20):
        joined(swarm, PeerKey(key), 0)
        sent += swarm.handle(SpanRequested(PeerKey(key), BlockSpan(PieceIndex(1), 0, 1)), 0.0)

    assert len(sent) == at_once


@pytest.mark.parametrize(
    ("held", "around", "served"),
    [
        pytest.param(32, 32 + 63, 1, id="little is to be had"),
        pytest.param(32, 32 + 64, 0, id="there is enough to ask for"),
        pytest.param(COUNT - 8, COUNT, 0, id="all that is missing is there"),
    ],
)
def test_while_little_is_to_be_had_the_piece_that_few_have_is_sent_before_others(
    held: int, around: int, served: int
) -> None:
    swarm = a_swarm(held=everything(held))
    for key in range(10, 14):
        joined(swarm, PeerKey(key), everything(around) & ~(1 << 1))
    joined(swarm, ANNA, 1)
    common, rare = BlockSpan(PieceIndex(0), 0, 1), BlockSpan(PieceIndex(1), 0, 1)
    a_full_house(swarm)
    swarm.handle(SpanRequested(PeerKey(10), common), 0.0)
    swarm.handle(SpanRequested(ANNA, rare), 0.0)

    expected = (SendSpan(PeerKey(10), common), SendSpan(ANNA, rare))[served]
    assert swarm.handle(SpanSent(PeerKey(20)), 0.0) == [expected]


def test_of_pieces_that_few_have_the_rarest_is_sent_first() -> None:
    swarm = a_swarm(held=0b111)
    a_full_house(swarm)
    joined(swarm, PeerKey(10), 0b010)
    joined(swarm, ANNA, 0b001)
    joined(swarm, BERT, 0b001)
    one_has, nobody_has = BlockSpan(PieceIndex(1), 0, 1), BlockSpan(PieceIndex(2), 0, 1)
    swarm.handle(SpanRequested(ANNA, one_has), 0.0)
    swarm.handle(SpanRequested(BERT, nobody_has), 0.0)

    assert swarm.handle(SpanSent(PeerKey(20)), 0.0) == [SendSpan(BERT, nobody_has)]


@pytest.mark.parametrize(
    ("readers", "first"),
    [
        pytest.param([], 150, id="nobody reads"),
        pytest.param([(36, COUNT, False)], 41, id="one is near"),
        pytest.param([(35, COUNT, False)], 150, id="none is near"),
        pytest.param([(100, COUNT, False)], 41, id="what has been read is wanted by those behind"),
        pytest.param([(36, 100, True), (120, COUNT, True)], 41, id="of two that read a part each one is near"),
        pytest.param([(5, 100, True), (120, COUNT, True)], 150, id="neither of two is near"),
    ],
)
def test_what_readers_soon_need_is_sent_before_what_they_need_later(
    readers: list[tuple[int, int, bool]], first: int
) -> None:
    swarm = a_swarm(held=everything(COUNT) & ~(1 << COUNT - 1))
    for number, (start, stop, part) in enumerate(readers):
        swarm.handle(ReaderMoved(number, start, stop, part=part), 0.0)
    a_full_house(swarm)
    asked_for = [(PeerKey(10), BlockSpan(PieceIndex(150), 0, 1)), (PeerKey(11), BlockSpan(PieceIndex(41), 0, 1))]
    for peer, span in asked_for:
        joined(swarm, peer, everything(COUNT))
        swarm.handle(SpanRequested(peer, span), 0.0)

    (sent,) = swarm.handle(SpanSent(PeerKey(20)), 0.0)

    assert isinstance(sent, SendSpan)
    assert sent.span.piece == first


def test_every_fourth_time_who_waited_longest_is_sent_to_even_if_readers_need_it_late() -> None:
    swarm = a_swarm(held=everything(COUNT) & ~(1 << COUNT - 1))
    swarm.handle(ReaderMoved(0, 50, COUNT, part=False), 0.0)
    a_full_house(swarm)
    for key, piece in ((10, 150), (11, 151), (12, 41), (13, 42), (14, 43), (15, 44)):
        joined(swarm, PeerKey(key), everything(COUNT))
        swarm.handle(SpanRequested(PeerKey(key), BlockSpan(PieceIndex(piece), 0, 1)), 0.0)

    sent = [action for key in range(20, 25) for action in swarm.handle(SpanSent(PeerKey(key)), 0.0)]

    assert [each.span.piece for each in sent if isinstance(each, SendSpan)] == [41, 42, 43, 150, 44]


def test_an_origin_sends_what_it_suggested_in_the_order_of_the_blob_and_before_the_rest() -> None:
    origin = a_swarm(held=everything(COUNT), lot=Lot())
    busy = [PeerKey(key) for key in range(20, 28)]
    told: dict[PeerKey, PieceIndex] = {}
    for key in (ANNA, BERT, PeerKey(10), *busy):
        peer = PeerJoined(key, PeerId(bytes([key]) * 20), Role.AGENT, kraken=True, dialled=None)
        told |= {to: PieceIndex(piece) for to, piece in suggestions([*origin.handle(peer, 0.0)])}
        origin.handle(PeerHas(key, 1 << 199), 0.0)
    for key in busy:  # all slots are taken
        origin.handle(SpanRequested(key, BlockSpan(PieceIndex(199), 0, 1)), 0.0)
    for key, piece in ((PeerKey(10), PieceIndex(198)), (BERT, told[BERT]), (ANNA, told[ANNA])):
        origin.handle(SpanRequested(key, BlockSpan(piece, 0, 1)), 0.0)

    sent = [action for key in busy[:3] for action in origin.handle(SpanSent(key), 0.0)]

    assert told[ANNA] < told[BERT]
    assert [each.peer for each in sent if isinstance(each, SendSpan)] == [ANNA, BERT, PeerKey(10)]


def a_full_house(swarm: Swarm) -> None:
    """Eight agents that have the first piece, and are being sent another one: all slots are taken."""
    for key in range(20, 28):
        joined(swarm, PeerKey(key), 1)
        swarm.handle(SpanRequested(PeerKey(key), BlockSpan(PieceIndex(2), 0, 1)), 0.0)


@pytest.mark.parametrize(("waiting", "at_once"), [(8, 2), (9, 3)])
def test_a_peer_where_more_waits_than_it_has_slots_is_asked_for_one_piece_more(waiting: int, at_once: int) -> None:
    swarm = a_swarm()
    joined(swarm, ANNA, everything(COUNT))
    swarm.handle(PeerHas(ANNA, 0, waiting=waiting), 0.0)

    assert len(asked([*swarm.handle(DemandChanged(wanted=True), 0.0)])) == at_once


def test_the_queue_of_a_peer_that_left_counts_no_longer() -> None:
    swarm = a_swarm()
    joined(swarm, ANNA, everything(COUNT))
    joined(swarm, BERT, everything(COUNT))
    swarm.handle(PeerHas(ANNA, 0, waiting=40), 0.0)
    swarm.handle(PeerLeft(ANNA), 0.0)

    assert len(asked([*swarm.handle(DemandChanged(wanted=True), 0.0)])) == 2


def test_where_pieces_come_slowly_a_peer_hears_of_what_it_has_with_the_next_piece_that_it_lacks() -> None:
    swarm = a_swarm()
    joined(swarm, ANNA, everything(COUNT))
    joined(swarm, BERT, 0)
    first, second = (PieceIndex(piece) for _, piece in asked([*swarm.handle(DemandChanged(wanted=True), 0.0)]))
    swarm.handle(PeerHas(BERT, 1 << first), 0.5)

    told = []
    for piece, now in ((first, 1.0), (second, 2.0)):
        swarm.handle(PieceVerified(ANNA, piece), now)
        told.append([each for each in swarm.handle(Tick(), now + 0.5) if isinstance(each, TellHave)])

    assert told == [[], [TellHave((BERT,), 1 << first | 1 << second, 0)]]


def test_what_is_asked_of_origins_leaves_as_much_room_for_agents() -> None:
    swarm = a_swarm()
    swarm.handle(DemandChanged(wanted=True), 0.0)
    joined(swarm, ORIGIN, everything(COUNT), Role.ORIGIN)

    requests = [joined(swarm, PeerKey(key), everything(COUNT)) for key in range(4, 14)]

    assert [len(asked(actions)) for actions in requests] == [2] * 8 + [0] * 2


@pytest.mark.parametrize(("agents", "at_once"), [(7, 2), (8, 1)])
def test_an_origin_that_a_crowd_keeps_busy_is_asked_for_one_piece_at_once(agents: int, at_once: int) -> None:
    swarm = a_swarm()
    swarm.handle(DemandChanged(wanted=True), 0.0)
    for key in range(4, 4 + agents):
        joined(swarm, PeerKey(key), 0)

    assert len(asked(joined(swarm, ORIGIN, everything(COUNT), Role.ORIGIN))) == at_once


def test_a_blob_of_few_pieces_is_asked_for_one_piece_a_peer() -> None:
    swarm = a_swarm(count=20)
    swarm.handle(DemandChanged(wanted=True), 0.0)

    assert len(asked(joined(swarm, ANNA, everything(20)))) == 1


@pytest.mark.parametrize(("took", "at_once"), [(0.15, 1), (0.16, 2)])
def test_a_blob_of_few_pieces_that_come_slowly_is_asked_for_like_others(took: float, at_once: int) -> None:
    swarm = a_swarm(count=8)
    joined(swarm, ANNA, everything(8))
    first = asked([*swarm.handle(DemandChanged(wanted=True), 0.0)])[0][1]

    assert len(asked([*swarm.handle(PieceVerified(ANNA, PieceIndex(first)), took)])) == at_once


def test_a_stock_client_is_asked_once_it_unchokes() -> None:
    swarm = a_swarm()
    swarm.handle(DemandChanged(wanted=True), 0.0)

    assert asked(joined(swarm, ANNA, everything(COUNT), kraken=False)) == []
    assert len(asked([*swarm.handle(PeerChoked(ANNA, choked=False), 0.0)])) == 2


def test_the_least_busy_peer_is_asked() -> None:
    swarm = a_swarm()
    joined(swarm, ANNA, everything(COUNT))
    joined(swarm, BERT, everything(COUNT))
    swarm.handle(PeerHas(ANNA, 0, waiting=5), 0.0)

    first = asked([*swarm.handle(DemandChanged(wanted=True), 0.0)])

    assert [peer for peer, _ in first] == [BERT, BERT, ANNA, ANNA]


def test_an_origin_is_not_asked_for_what_an_agent_has() -> None:
    swarm = a_swarm()
    joined(swarm, ANNA, everything(COUNT // 2))
    joined(swarm, ORIGIN, everything(COUNT), Role.ORIGIN)

    requests = asked([*swarm.handle(DemandChanged(wanted=True), 0.0)])

    assert {peer for peer, piece in requests if piece < COUNT // 2} == {ANNA}


def test_a_peer_of_another_zone_is_asked_only_for_what_no_near_one_has() -> None:
    swarm = a_swarm(zone="east")
    joined(swarm, ANNA, 0b0111, zone="east")
    joined(swarm, BERT, 0b1111, zone="west")

    requests = asked([*swarm.handle(DemandChanged(wanted=True), 0.0)])

    assert {piece for peer, piece in requests if peer == BERT} == {3}
    assert [peer for peer, _ in requests].count(ANNA) == 2


def test_a_peer_of_another_zone_is_asked_when_nothing_else_is_under_way() -> None:
    swarm = a_swarm(zone="east")
    joined(swarm, ANNA, 0b1, zone="east", kraken=False)
    joined(swarm, BERT, 0b1, zone="west")

    assert asked([*swarm.handle(DemandChanged(wanted=True), 0.0)]) == [(BERT, 0)]


@pytest.mark.parametrize(("ours", "theirs"), [("", ""), ("east", ""), ("", "west"), ("east", "east")])
def test_a_peer_that_may_be_near_is_asked_like_any_other(ours: str, theirs: str) -> None:
    swarm = a_swarm(zone=ours)
    joined(swarm, ANNA, everything(COUNT), zone=ours)
    joined(swarm, BERT, everything(COUNT), zone=theirs)

    requests = asked([*swarm.handle(DemandChanged(wanted=True), 0.0)])

    assert sorted(peer for peer, _ in requests) == [ANNA, ANNA, BERT, BERT]


@pytest.mark.parametrize(("zone", "first"), [("east", ORIGIN), ("west", BERT), ("", BERT)])
def test_an_origin_of_our_zone_comes_before_agents_of_others(zone: str, first: PeerKey) -> None:
    swarm = a_swarm(count=1, zone="east")
    joined(swarm, BERT, 0, zone="west")
    joined(swarm, ORIGIN, 1, Role.ORIGIN, zone=zone)
    swarm.handle(PeerHas(BERT, 1, waiting=9), 0.0)

    requests = asked([*swarm.handle(DemandChanged(wanted=True), 0.0)])

    assert requests[0] == (first, 0)


def test_agents_that_see_each_other_take_different_pieces_from_the_origins() -> None:
    takes = []
    for me, other in ((b"a", b"b"), (b"b", b"a")):
        swarm = a_swarm(me=me)
        swarm.handle(PeerJoined(ANNA, PeerId(other * 20), Role.AGENT, True, None), 0.0)
        joined(swarm, ORIGIN, everything(COUNT), Role.ORIGIN)
        pieces = [piece for _, piece in asked([*swarm.handle(DemandChanged(wanted=True), 0.0)])]
        takes.append({piece % 2 for piece in pieces})

    assert takes == [{0}, {1}]


def a_crowd(swarm: Swarm, agents: int) -> None:
    """So many agents that have nothing yet, and an origin."""
    for key in range(10, 10 + agents):
        joined(swarm, PeerKey(key), 0)
    joined(swarm, ORIGIN, everything(COUNT), Role.ORIGIN)


@pytest.mark.parametrize(
    ("count", "agents", "reads", "others"),
    [(COUNT, 12, True, False), (COUNT, 11, True, True), (COUNT, 12, False, True), (80, 12, False, False)],
)
def test_for_a_reader_or_a_small_blob_a_large_crowd_asks_an_origin_for_what_it_suggested(
    count: int, agents: int, reads: bool, others: bool
) -> None:
    swarm = a_swarm(count)
    a_crowd(swarm, agents)
    ours = set(range(count - 50, count - 44))
    swarm.handle(PiecesSuggested(ORIGIN, sum(1 << piece for piece in ours)), 0.0)
    if reads:
        swarm.handle(ReaderMoved(1, 0, count, part=False), 0.0)
    requests = [piece for _, piece in asked([*swarm.handle(DemandChanged(wanted=True), 0.0)])]

    assert (requests[0] not in ours) == others


@pytest.mark.parametrize(("took", "heeded"), [(0.04, False), (0.041, True)])
def test_what_an_origin_suggested_is_asked_for_where_it_is_far_slower_than_most(took: float, heeded: bool) -> None:
    swarm = a_swarm()
    a_crowd(swarm, 12)
    for key in range(10, 22):
        swarm.handle(PeerHas(PeerKey(key), everything(24)), 0.0)
    ours = set(range(COUNT - 50, COUNT - 44))
    swarm.handle(PiecesSuggested(ORIGIN, sum(1 << piece for piece in ours)), 0.0)
    requests = asked([*swarm.handle(DemandChanged(wanted=True), 0.0)])
    of_agents = [request for request in requests if request[0] != ORIGIN]
    (first,) = [piece for peer, piece in requests if peer == ORIGIN]
    for peer, piece in of_agents[:3]:
        swarm.handle(PieceVerified(peer, PieceIndex(piece)), 0.01)
    swarm.handle(PieceVerified(ORIGIN, PieceIndex(first)), took)

    peer, piece = of_agents[3]
    later = asked([*swarm.handle(PieceVerified(peer, PieceIndex(piece)), took)])
    of_origin = {piece for peer, piece in later if peer == ORIGIN}

    assert len(of_origin) == 1
    assert (of_origin <= ours) == heeded


def test_an_origin_hears_of_what_it_suggested_and_of_nothing_else() -> None:
    swarm = a_swarm(held=0b1)
    a_crowd(swarm, 12)
    swarm.handle(DemandChanged(wanted=True), 0.0)

    assert TellHave((ORIGIN,), 0b1, 0) in swarm.handle(PiecesSuggested(ORIGIN, 0b111), 0.0)
    swarm.handle(PieceVerified(PeerKey(10), PieceIndex(1)), 0.1)
    swarm.handle(PieceVerified(PeerKey(10), PieceIndex(9)), 0.1)
    told = [action for action in swarm.handle(Tick(), 0.2) if isinstance(action, TellHave)]
    assert [each.pieces for each in told if ORIGIN in each.peers] == [0b10]


def test_what_an_agent_suggests_is_of_no_consequence() -> None:
    swarm = a_swarm(held=0b1)
    a_crowd(swarm, 12)

    assert swarm.handle(PiecesSuggested(PeerKey(10), 0b1), 0.0) == []
    assert swarm.handle(PiecesSuggested(PeerKey(99), 0b1), 0.0) == []


def test_an_origin_suggests_something_else_to_each_agent_and_more_when_it_asked() -> None:
    origin = a_swarm(held=everything(COUNT), lot=Lot())
    suggested: list[tuple[PeerKey, int]] = []
    for key in range(10, 30):
        event = PeerJoined(PeerKey(key), PeerId(bytes([key]) * 20), Role.AGENT, True, None)
        suggested += suggestions([*origin.handle(event, 0.0)])

    assert len({piece for _, piece in suggested}) == len(suggested)
    assert {peer for peer, _ in suggested} == {PeerKey(key) for key in range(10, 30)}
    last, piece = suggested[-1]
    span = BlockSpan(PieceIndex(piece), 0, 256 * KIB)
    assert [peer for peer, _ in suggestions([*origin.handle(SpanRequested(last, span), 0.0)])] == [last]


def test_agents_suggest_nothing() -> None:
    swarm = a_swarm(held=everything(COUNT))

    assert suggestions(joined(swarm, ANNA, 0)) == []


def test_an_agent_that_is_far_slower_than_the_origin_does_not_keep_us_from_it() -> None:
    swarm = a_swarm()
    joined(swarm, ANNA, everything(COUNT))
    joined(swarm, ORIGIN, everything(COUNT), Role.ORIGIN)
    requests = asked([*swarm.handle(DemandChanged(wanted=True), 0.0)])
    of_origin = [PieceIndex(piece) for peer, piece in requests if peer == ORIGIN]
    of_anna = [PieceIndex(piece) for peer, piece in requests if peer == ANNA]
    assert len(of_origin) == 1, "few requests: one is a probe of the origin"
    swarm.handle(PieceVerified(ORIGIN, of_origin[0]), 0.01)

    later = asked([*swarm.handle(PieceVerified(ANNA, of_anna[0]), 0.4)])

    assert [peer for peer, _ in later].count(ORIGIN) == 2


def test_a_late_piece_is_asked_of_one_more_peer_and_withdrawn_when_it_comes() -> None:
    swarm = a_swarm(count=1)
    swarm.handle(DemandChanged(wanted=True), 0.0)
    joined(swarm, ANNA, 1)
    joined(swarm, BERT, 1)

    again = asked([*swarm.handle(Tick(), 1.0)])
    assert again in ([(ANNA, 0)], [(BERT, 0)])
    assert asked([*swarm.handle(Tick(), 1.5)]) == [], "no more than two are asked while none of them is late again"
    actions = swarm.handle(PieceVerified(again[0][0], PieceIndex(0)), 1.6)

    other = BERT if again[0][0] == ANNA else ANNA
    assert WithdrawAsk(other, PieceIndex(0)) in actions
    assert swarm.complete


def test_a_peer_that_owes_a_piece_and_stays_silent_is_dropped() -> None:
    swarm = a_swarm(count=1)
    swarm.handle(DemandChanged(wanted=True), 0.0)
    joined(swarm, ANNA, 1)
    now = 0.0
    closed: list[ClosePeer] = []
    while not closed and now < 60:
        now = swarm.next_deadline() or 60.0
        closed = [action for action in swarm.handle(Tick(), now) if isinstance(action, ClosePeer)]

    assert closed == [ClosePeer(ANNA, "silent")]
    assert 15.0 <= now <= 31.0


def test_a_slow_peer_that_still_sends_is_kept() -> None:
    swarm = a_swarm(count=1)
    swarm.handle(DemandChanged(wanted=True), 0.0)
    joined(swarm, ANNA, 1)

    for second in range(1, 120):
        swarm.handle(BytesArrived(ANNA, float(second)), float(second))
        assert not any(isinstance(action, ClosePeer) for action in swarm.handle(Tick(), float(second)))


def test_who_sends_a_corrupt_piece_is_banned_and_the_piece_asked_elsewhere() -> None:
    swarm = a_swarm(count=1)
    swarm.handle(DemandChanged(wanted=True), 0.0)
    joined(swarm, ANNA, 1)
    joined(swarm, BERT, 1)

    actions = swarm.handle(PieceCorrupt(ANNA, PieceIndex(0)), 0.1)

    assert actions == [BanPeer(ANNA, PieceIndex(0)), AskPiece(BERT, PieceIndex(0))]


def test_a_rejected_piece_is_asked_again_after_a_rest_and_thrice_rejected_is_not_there() -> None:
    swarm = a_swarm(count=1)
    swarm.handle(DemandChanged(wanted=True), 0.0)
    joined(swarm, ANNA, 1)
    now = 0.0
    for _ in range(3):
        assert swarm.handle(RequestRejected(ANNA, PieceIndex(0)), now) == []
        now = swarm.next_deadline() or now
        last = asked([*swarm.handle(Tick(), now)])

    assert last == []


def test_a_piece_that_a_busy_peer_rejects_is_not_taken_for_lost() -> None:
    swarm = a_swarm()
    swarm.handle(DemandChanged(wanted=True), 0.0)
    held = 0b11
    requests = asked(joined(swarm, ANNA, held))
    assert len(requests) == 2
    kept, rejected = (PieceIndex(piece) for _, piece in requests)
    now = 0.0
    for _ in range(5):
        swarm.handle(RequestRejected(ANNA, rejected), now)
        now += 0.06
        assert asked([*swarm.handle(Tick(), now)]) == [(ANNA, rejected)], "it still owes us the other one"

    swarm.handle(PieceVerified(ANNA, kept), now)
    assert asked([*swarm.handle(RequestRejected(ANNA, rejected), now)]) == []
    assert asked([*swarm.handle(Tick(), now + 0.06)]) == [(ANNA, rejected)]


def test_a_peer_that_owed_nothing_for_long_has_its_time_when_it_is_asked() -> None:
    swarm = a_swarm(count=1)
    swarm.handle(DemandChanged(wanted=True), 0.0)
    joined(swarm, ANNA, 0)
    assert asked([*swarm.handle(PeerHas(ANNA, 1), 60.0)]) == [(ANNA, 0)]

    assert not any(isinstance(action, ClosePeer) for action in swarm.handle(Tick(), 61.0))


def test_a_piece_for_which_there_was_no_room_may_be_asked_of_the_same_peer_again() -> None:
    swarm = a_swarm(count=1)
    swarm.handle(DemandChanged(wanted=True), 0.0)
    joined(swarm, ANNA, 1)

    assert swarm.handle(PieceDropped(ANNA, PieceIndex(0)), 0.1) == []
    swarm.handle(DemandChanged(wanted=False), 0.1)
    assert asked([*swarm.handle(DemandChanged(wanted=True), 5.0)]) == [(ANNA, 0)]


def test_who_joins_late_is_told_what_came_in_since_its_handshake() -> None:
    swarm = a_swarm(held=0b111)

    told = swarm.handle(PeerJoined(ANNA, PeerId(b"a" * 20), Role.AGENT, True, None, told=0b001), 0.0)

    assert told == [TellHave((ANNA,), 0b110, 0)]


def test_a_client_that_chokes_us_does_not_keep_us_from_the_origins() -> None:
    swarm = a_swarm()
    joined(swarm, ANNA, everything(COUNT), kraken=False)
    joined(swarm, ORIGIN, everything(COUNT), Role.ORIGIN)

    assert len(asked([*swarm.handle(DemandChanged(wanted=True), 0.0)])) == 2


def test_news_is_gathered_for_two_milliseconds_and_complete_peers_are_spared() -> None:
    swarm = a_swarm()
    swarm.handle(DemandChanged(wanted=True), 0.0)
    joined(swarm, ANNA, 0b1)
    joined(swarm, ORIGIN, everything(COUNT), Role.ORIGIN)
    swarm.handle(PieceVerified(None, PieceIndex(5)), 1.0)
    swarm.handle(PieceVerified(None, PieceIndex(6)), 1.001)

    told = [action for action in swarm.handle(Tick(), 1.002) if isinstance(action, TellHave)]

    assert told == [TellHave((ANNA,), 0b1100000, 0)]


@pytest.mark.parametrize(
    ("count", "took", "gathered"),
    [
        (COUNT, 0.3199, 0.002),
        (COUNT, 0.32, 0.08),
        (COUNT, 1.6, 0.4),
        (COUNT, 3.2, 0.5),
        (8, 0.1599, 0.0002),
        (8, 0.4, 0.1),
    ],
)
def test_where_pieces_come_slowly_news_is_gathered_for_as_long_as_four_take(
    count: int, took: float, gathered: float
) -> None:
    swarm = a_swarm(count)
    joined(swarm, ANNA, everything(count))
    joined(swarm, BERT, 0)
    first = asked([*swarm.handle(DemandChanged(wanted=True), 0.0)])[0][1]

    swarm.handle(PieceVerified(ANNA, PieceIndex(first)), took)

    before, after = (swarm.handle(Tick(), took + gathered + step) for step in (-0.0001, 0.0001))
    assert not any(isinstance(action, TellHave) for action in before)
    assert TellHave((BERT,), 1 << first, 0) in after


def test_two_complete_peers_part_without_a_ban() -> None:
    swarm = a_swarm(held=everything(COUNT))

    assert joined(swarm, ANNA, everything(COUNT)) == [ClosePeer(ANNA, "both complete")]


def test_what_is_not_held_is_not_sent() -> None:
    swarm = a_swarm(held=0b1)
    joined(swarm, ANNA, 0)
    here, missing = BlockSpan(PieceIndex(0), 0, 10), BlockSpan(PieceIndex(1), 0, 10)

    assert swarm.handle(SpanRequested(ANNA, here), 0.0) == [SendSpan(ANNA, here)]
    assert swarm.handle(SpanRequested(ANNA, missing), 0.0) == [RejectSpan(ANNA, missing)]
    swarm.handle(PieceLost(PieceIndex(0)), 0.0)
    assert swarm.handle(SpanRequested(ANNA, here), 0.0) == [RejectSpan(ANNA, here)]


def test_a_range_reader_gets_its_pieces_first() -> None:
    swarm = a_swarm()
    swarm.handle(DemandChanged(wanted=True), 0.0)
    swarm.handle(ReaderMoved(1, 150, 154, part=True), 0.0)

    requests = [*asked(joined(swarm, ANNA, everything(COUNT))), *asked(joined(swarm, BERT, everything(COUNT)))]

    assert [piece for _, piece in requests] == [150, 151, 152, 153]


def test_peers_are_dialled_while_the_blob_is_wanted_and_the_tracker_is_asked_when_they_run_out() -> None:
    swarm = a_swarm()
    swarm.handle(DemandChanged(wanted=True), 0.0)
    one = Candidate(Address("10.0.0.1", 1), Role.AGENT)

    assert swarm.handle(PeersOffered((one,)), 0.0) == [Dial(one)]
    assert swarm.handle(DialFailed(one.address), 0.1) == [AskTracker()]
    assert swarm.handle(DialFailed(one.address), 0.1) == [], "it is asked once, until it answers"


@pytest.mark.parametrize(
    ("crowds", "soon"),
    [((), False), ((244,), False), ((366,), True), ((1000,), True), ((1000, 0), True), ((1000, 10), False)],
)
def test_what_comes_before_the_rarest_grows_with_the_crowd_that_the_tracker_told_last(
    crowds: tuple[int, ...], soon: bool
) -> None:
    """The window of 200 pieces is 50, and a third of them for 366; the piece in question is not among the rarest."""
    swarm = a_swarm()
    joined(swarm, BERT, 1 << 60, kraken=False)
    joined(swarm, ANNA, 1 << 60 | everything(COUNT) & ~everything(150))
    swarm.handle(ReaderMoved(1, 0, COUNT, part=False), 0.0)
    for crowd in crowds:
        swarm.handle(PeersOffered((), crowd), 0.0)

    requests = asked([*swarm.handle(DemandChanged(wanted=True), 0.0)])

    assert len(requests) == 2
    assert ((ANNA, 60) in requests) == soon


@pytest.mark.parametrize(
    ("count", "crowd", "reads", "looks"),
    [
        (COUNT, 0, True, True),
        (COUNT, 1, True, True),
        (COUNT, 322, True, True),
        (COUNT, 600, True, False),
        (COUNT, 1, False, False),
        (128, 1, True, False),
    ],
)
def test_with_a_sixteenth_of_a_large_blob_a_reader_has_the_tracker_asked_once_whether_the_crowd_has_grown(
    count: int, crowd: int, reads: bool, looks: bool
) -> None:
    swarm = a_swarm(count)
    swarm.handle(DemandChanged(wanted=True), 0.0)
    swarm.handle(PeersOffered((Candidate(Address("10.0.0.1", 1), Role.AGENT),), crowd), 0.0)
    if reads:
        swarm.handle(ReaderMoved(1, 0, count, part=False), 0.0)
    sixteenth = -(-count // 16)

    for number in range(sixteenth - 1):
        assert AskTracker() not in swarm.handle(PieceVerified(None, PieceIndex(number)), 1.0)
    assert (AskTracker() in swarm.handle(PieceVerified(None, PieceIndex(sixteenth - 1)), 1.0)) == looks
    swarm.handle(PeersOffered((), crowd), 1.5)
    for number in range(sixteenth, count):
        assert AskTracker() not in swarm.handle(PieceVerified(None, PieceIndex(number)), 2.0)


def test_who_has_dialled_us_is_not_dialled_and_neither_are_we() -> None:
    swarm = a_swarm()
    swarm.handle(DemandChanged(wanted=True), 0.0)
    joined(swarm, ANNA, 0)
    anna, ourselves, bert = (
        Candidate(Address("10.0.0.1", port), Role.AGENT, PeerId(name * 20))
        for port, name in enumerate((b"\1", b"m", b"\2"), 1)
    )

    assert swarm.handle(PeersOffered((anna, ourselves, bert)), 0.0) == [Dial(bert)]
    assert swarm.handle(DialFailed(bert.address), 0.1) == [AskTracker()]


@pytest.mark.parametrize("seed", range(5))
def test_a_crowd_finishes_and_the_origins_upload_little_more_than_one_copy(seed: int) -> None:
    world = World(agents=8, origins=3, pieces=256, seed=seed)
    world.start()
    world.run()

    assert all(host.finished_at is not None for host in world.agents)
    assert world.origin_copies < 1.25
    assert max(world.asked.values()) <= 2


def test_one_seed_gives_one_run() -> None:
    runs = []
    for _ in range(2):
        world = World(agents=6, origins=2, pieces=150, seed=3)
        world.start()
        world.run()
        runs.append([(host.finished_at, host.uploads) for host in world.hosts])

    assert runs[0] == runs[1]


@pytest.mark.parametrize("seed", range(4))
def test_every_live_host_finishes_although_others_die_lie_and_dawdle(seed: int) -> None:
    world = World(agents=10, origins=2, pieces=150, seed=seed)
    world.hosts[0].piece_seconds *= 30
    world.hosts[1].lies = True
    world.later(0.02, lambda: world.kill(world.hosts[2]))
    world.later(0.05, lambda: world.kill(world.hosts[10]))
    world.start()
    world.run()

    assert all(host.finished_at is not None for host in world.agents if not host.dead)
    assert world.banned <= {1}


keys = st.integers(1, 5).map(PeerKey)
numbers = st.integers(0, 9).map(PieceIndex)
sets = st.integers(0, everything(10))
spans = st.builds(BlockSpan, numbers, st.just(0), st.integers(1, 100))
addresses = st.integers(1, 4).map(lambda port: Address("10.0.0.1", port))
candidates = st.builds(Candidate, addresses, st.sampled_from(Role))
events = st.one_of(
    st.builds(
        PeerJoined, keys, keys.map(lambda k: PeerId(bytes([k]) * 20)), st.sampled_from(Role), st.booleans(), addresses
    ),
    st.builds(PeerLeft, keys),
    st.builds(PeerHas, keys, sets, st.one_of(st.none(), st.integers(0, 99))),
    st.builds(PiecesSuggested, keys, sets),
    st.builds(PeerChoked, keys, st.booleans()),
    st.builds(SpanRequested, keys, spans),
    st.builds(SpanWithdrawn, keys, spans),
    st.builds(SpanSent, keys),
    st.builds(BytesArrived, keys, st.floats(0, 100)),
    st.builds(PieceVerified, st.one_of(st.none(), keys), numbers),
    st.builds(PieceCorrupt, keys, numbers),
    st.builds(PieceDropped, keys, numbers),
    st.builds(PieceLost, numbers),
    st.builds(RequestRejected, keys, numbers),
    st.builds(ReaderMoved, st.integers(1, 3), numbers, numbers, st.booleans()),
    st.builds(ReaderLeft, st.integers(1, 3)),
    st.builds(DemandChanged, st.booleans()),
    st.builds(PeersOffered, st.lists(candidates, max_size=4).map(tuple), st.integers(0, 2000)),
    st.builds(DialFailed, addresses),
    st.just(Tick()),
)


@settings(max_examples=300)
@given(st.lists(st.tuples(events, st.floats(0, 5)), max_size=60), st.booleans())
def test_the_invariants_hold_whatever_the_order_of_events(story: list[tuple[Event, float]], origin: bool) -> None:
    swarm = a_swarm(count=10, held=everything(10), lot=Lot(1, 3)) if origin else a_swarm(count=10)
    connected: set[PeerKey] = set()
    outstanding: set[tuple[PeerKey, PieceIndex]] = set()
    now = 0.0
    for event, pause in story:
        now += pause
        if isinstance(event, PeerJoined):
            if event.peer in connected:
                continue  # the node never uses a key twice
            connected.add(event.peer)
        if isinstance(event, PeerLeft):
            connected.discard(event.peer)
        actions = swarm.handle(event, now)
        outstanding = _settled(outstanding, event, connected)
        for action in actions:
            if isinstance(action, AskPiece):
                assert action.peer in connected
                assert not swarm.held >> action.piece & 1
                assert (action.peer, action.piece) not in outstanding
                assert sum(piece == action.piece for _, piece in outstanding) <= 4, "only late ones again"
                outstanding.add((action.peer, action.piece))
            if isinstance(action, WithdrawAsk):
                outstanding.discard((action.peer, action.piece))
            if isinstance(action, SendSpan):
                assert swarm.held >> action.span.piece & 1
            if isinstance(action, SuggestPieces):
                assert origin
                assert action.peer in connected
        assert len(outstanding) <= 16
        assert all(sum(peer == key for peer, _ in outstanding) <= 2 for key in connected)
        deadline = swarm.next_deadline()
        assert deadline is None or deadline >= 0


def _settled(
    outstanding: set[tuple[PeerKey, PieceIndex]], event: Event, connected: set[PeerKey]
) -> set[tuple[PeerKey, PieceIndex]]:
    """The requests that are still open after an event."""
    left = {(peer, piece) for peer, piece in outstanding if peer in connected}
    if isinstance(event, PieceVerified | PieceCorrupt | PieceDropped | RequestRejected) and event.peer is not None:
        left.discard((event.peer, event.piece))
    if isinstance(event, PeerChoked) and event.choked:
        left = {(peer, piece) for peer, piece in left if peer != event.peer}
    return left


def test_the_held_set_is_what_was_verified() -> None:
    swarm = a_swarm(count=10)
    for number in (1, 4):
        swarm.handle(PieceVerified(None, PieceIndex(number)), 0.0)

    assert list(members(swarm.held)) == [1, 4]


def test_an_allowance_limits_what_is_asked_of_everybody_until_it_changes() -> None:
    swarm = a_swarm()
    swarm.handle(DemandChanged(wanted=True), 0.0)
    swarm.handle(AllowanceChanged(3), 0.0)
    for number in range(1, 6):
        joined(swarm, PeerKey(number), everything(COUNT), Role.ORIGIN if number == 5 else Role.AGENT)

    assert swarm.requested == 3
    assert len(swarm.handle(AllowanceChanged(5), 0.1)) == 2
    assert swarm.handle(AllowanceChanged(1), 0.2) == []
    assert swarm.requested == 5
    assert len(swarm.handle(AllowanceChanged(None), 0.3)) == 3, "two of each agent; the origin has nothing else"


def test_the_rate_is_what_is_outstanding_over_what_a_piece_takes() -> None:
    swarm = a_swarm()
    swarm.handle(DemandChanged(wanted=True), 0.0)
    (peer, piece), second = asked(joined(swarm, ANNA, 0b111))
    assert swarm.rate == 0.0, "nothing came yet"
    assert len(asked([*swarm.handle(PieceVerified(peer, PieceIndex(piece)), 0.5)])) == 1
    assert swarm.rate == 2 * 256 * KIB / 0.5
    for number in (second[1], 3 - piece - second[1]):
        swarm.handle(PieceVerified(ANNA, PieceIndex(number)), 0.5)
    assert swarm.rate == 0.0, "nothing is under way"


def test_the_appetite_is_what_peers_could_be_asked_for_whatever_the_allowance() -> None:
    swarm = a_swarm()
    swarm.handle(DemandChanged(wanted=True), 0.0)
    assert swarm.appetite == 0
    swarm.handle(AllowanceChanged(1), 0.0)
    joined(swarm, ANNA, 0b1)
    assert swarm.appetite == 2
    joined(swarm, BERT, 0)
    assert swarm.appetite == 2
    joined(swarm, ORIGIN, everything(COUNT), Role.ORIGIN)
    assert swarm.appetite == 4
    assert swarm.requested == 1


def test_not_even_an_origin_that_is_only_tried_is_asked_beyond_the_allowance() -> None:
    swarm = a_swarm()
    joined(swarm, ANNA, everything(COUNT))
    joined(swarm, ORIGIN, everything(COUNT), Role.ORIGIN)
    swarm.handle(AllowanceChanged(1), 0.0)

    swarm.handle(DemandChanged(wanted=True), 0.0)

    assert swarm.requested == 1
