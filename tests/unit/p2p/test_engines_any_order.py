"""The parts of the swarm engine, each under any order of what may happen to it, beside a model or its invariants."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kraken.core.metainfo import SwarmId
from kraken.core.peers import Address, Role
from kraken.core.pieces import PieceIndex
from kraken.p2p import announces
from kraken.p2p.announces import Announce, AnnounceSchedule
from kraken.p2p.bitfield import set_of
from kraken.p2p.dialing import MAX_CANDIDATES, Candidate, DialPlan
from kraken.p2p.ledger import PeerKey, RequestLedger
from kraken.p2p.upload_slots import BlockSpan, RejectSpan, SendSpan, UploadSlots

SLOTS, PER_PEER, BYTES_PER_PEER, FIRST = 3, 2, 200, 2

peers = st.integers(1, 6).map(PeerKey)
pieces = st.integers(0, 7).map(PieceIndex)
spans = st.builds(BlockSpan, pieces, st.just(0), st.sampled_from((50, 100, 150)))


class AnyRequests(RuleBasedStateMachine):
    """Each request is answered once, by data or by a reject, unless its peer leaves before."""

    def __init__(self) -> None:
        super().__init__()
        self.rare = 0
        self.slots = UploadSlots(SLOTS, BYTES_PER_PEER, PER_PEER, lambda asked: set_of(asked) & self.rare, FIRST)
        self.open: Counter[tuple[PeerKey, BlockSpan]] = Counter()
        self.sending: dict[PeerKey, BlockSpan] = {}
        self.known: set[PeerKey] = set()
        self.newcomers: dict[PeerKey, BlockSpan] = {}
        self.welcomed: set[PeerKey] = set()

    @rule(rare=st.integers(0, 255))
    def become_rare(self, rare: int) -> None:
        self.rare = rare

    @rule(peer=peers, span=spans, has_nothing=st.booleans())
    def ask(self, peer: PeerKey, span: BlockSpan, has_nothing: bool) -> None:
        owed = self._owed(peer)
        self.open[peer, span] += 1
        orders = self.slots.requested(peer, span, has_nothing=has_nothing)
        too_much = len(owed) >= PER_PEER and sum(owed) + span.length > BYTES_PER_PEER
        assert (RejectSpan(peer, span) in orders) == too_much
        if has_nothing and peer not in self.known:
            self.newcomers[peer] = span
        self.known.add(peer)
        self._take(orders)

    @precondition(lambda self: self.open.total())
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        waiting = [each for each, count in self.open.items() if count]
        peer, span = data.draw(st.sampled_from(waiting))
        if self.newcomers.get(peer) == span:
            del self.newcomers[peer]
        orders = self.slots.withdrawn(peer, span)
        assert orders == [RejectSpan(peer, span)]
        self._take(orders)

    @rule(peer=peers, span=spans)
    def withdraw_what_does_not_wait(self, peer: PeerKey, span: BlockSpan) -> None:
        if not self.open[peer, span]:
            assert self.slots.withdrawn(peer, span) == []

    @rule(peer=peers)
    def sent(self, peer: PeerKey) -> None:
        self.sending.pop(peer, None)
        self.welcomed.discard(peer)
        self._take([*self.slots.sent(peer)])

    @rule(peer=peers)
    def leave(self, peer: PeerKey) -> None:
        self.sending.pop(peer, None)
        self.newcomers.pop(peer, None)
        self.welcomed.discard(peer)
        self.known.discard(peer)
        for key in [key for key in self.open if key[0] == peer]:
            del self.open[key]
        self._take([*self.slots.left(peer)])

    def _take(self, orders: list[SendSpan | RejectSpan]) -> None:
        for order in orders:
            assert self.open[order.peer, order.span] > 0, "answered once"
            self.open[order.peer, order.span] -= 1
            if isinstance(order, SendSpan):
                assert order.peer not in self.sending, "one at a time"
                self.sending[order.peer] = order.span
                if order.peer in self.newcomers:
                    assert order.span == self.newcomers.pop(order.peer), "its first request first"
                    self.welcomed.add(order.peer)
                else:
                    assert self.rare >> order.span.piece & 1 or not self._wait_for_rare(), "what is rare first"

    @invariant()
    def no_slot_is_idle_while_somebody_waits(self) -> None:
        assert len(self.sending) <= SLOTS
        waiting = {peer for (peer, _), count in self.open.items() if count} - self.sending.keys()
        assert not waiting or len(self.sending) + (FIRST - 1) * len(self.welcomed) >= SLOTS
        assert self.slots.waiting == self.open.total() + len(self.sending)

    def _wait_for_rare(self) -> bool:
        return any(
            count and self.rare >> span.piece & 1 and peer not in self.sending
            for (peer, span), count in self.open.items()
        )

    def _owed(self, peer: PeerKey) -> list[int]:
        """The bytes of each request of a peer that is not done."""
        owed = [span.length for (each, span), count in self.open.items() for _ in range(count) if each == peer]
        return [*owed, self.sending[peer].length] if peer in self.sending else owed


class AnyAsking(RuleBasedStateMachine):
    """What the ledger adds up is what a list of the requests says."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = RequestLedger(floor=1.0, factor=4.0)
        self.asked: dict[tuple[PeerKey, PieceIndex], float] = {}
        self.overdue: set[tuple[PeerKey, PieceIndex]] = set()
        self.now = 0.0

    @rule(peer=peers, piece=pieces)
    def ask(self, peer: PeerKey, piece: PieceIndex) -> None:
        if (peer, piece) not in self.asked:
            self.ledger.asked(peer, piece, self.now)
            self.asked[peer, piece] = self.now
            self.overdue = {each for each in self.overdue if each[1] != piece}

    @rule(peer=peers, piece=pieces)
    def arrive(self, peer: PeerKey, piece: PieceIndex) -> None:
        took = self.ledger.arrived(peer, piece, self.now)
        begun = self.asked.pop((peer, piece), None)
        assert took == (None if begun is None else self.now - begun)
        self.overdue.discard((peer, piece))

    @rule(peer=peers, piece=pieces)
    def withdraw(self, peer: PeerKey, piece: PieceIndex) -> None:
        assert self.ledger.withdrawn(peer, piece) == (self.asked.pop((peer, piece), None) is not None)
        self.overdue.discard((peer, piece))

    @rule(peer=peers)
    def leave(self, peer: PeerKey) -> None:
        self.ledger.left(peer)
        self.asked = {each: at for each, at in self.asked.items() if each[0] != peer}
        self.overdue &= self.asked.keys()

    @rule(hurried=st.booleans())
    def hurry(self, hurried: bool) -> None:
        before = self.ledger.next_deadline()
        self.ledger.hurry(hurried)
        after = self.ledger.next_deadline()
        assert before is after is None or (before is not None and after is not None and after <= before)

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        deadline = self.ledger.next_deadline()
        late = self.ledger.expire(self.now)
        assert bool(late) == (deadline is not None and deadline <= self.now)
        self.overdue |= {(each.peer, each.piece) for each in late}

    @invariant()
    def it_adds_up(self) -> None:
        ledger = self.ledger
        assert ledger.total == len(self.asked)
        assert ledger.outstanding == sum({1 << piece for _, piece in self.asked})
        by_peer = Counter(peer for peer, _ in self.asked)
        for peer in map(PeerKey, range(1, 7)):
            assert ledger.count(peer) == by_peer[peer]
            assert ledger.asked_of(peer) == sum(1 << piece for each, piece in self.asked if each == peer)
        for piece in map(PieceIndex, range(8)):
            assert sorted(ledger.askers(piece)) == sorted(peer for peer, each in self.asked if each == piece)
        assert ledger.late & ~ledger.outstanding == 0
        assert ledger.late & ~sum({1 << piece for _, piece in self.overdue}) == 0
        assert (ledger.next_deadline() is None) == (not self.asked)


class AnyDials(RuleBasedStateMachine):
    """Nobody is dialled twice at a time, and no more agents than the policy says; a candidate is tried or replaced."""

    MOST = 3

    def __init__(self) -> None:
        super().__init__()
        self.plan = DialPlan(self.MOST, random.Random(1))
        self.known: dict[Address, Role] = {}
        self.busy: dict[Address, Candidate] = {}
        self.connected: set[Address] = set()

    @rule(ports=st.lists(st.integers(1, MAX_CANDIDATES), max_size=9), role=st.sampled_from(Role))
    def offer(self, ports: list[int], role: Role) -> None:
        candidates = [Candidate(Address("10.0.0.1", port), role) for port in ports]
        self.known |= {each.address: role for each in candidates if each.address not in self.busy}
        self.plan.offered(candidates)

    @rule(room=st.integers(0, 6))
    def dial(self, room: int) -> None:
        orders = self.plan.dials(room)
        assert len(orders) <= room
        for order in orders:
            assert self.known.pop(order.candidate.address) is order.candidate.role
            self.busy[order.candidate.address] = order.candidate
        agents = sum(each.role is Role.AGENT for each in self.busy.values())
        assert agents <= self.MOST
        if len(orders) < room:
            assert not self.known or (agents == self.MOST and set(self.known.values()) == {Role.AGENT})

    @precondition(lambda self: self.busy.keys() - self.connected)
    @rule(data=st.data())
    def join(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(sorted(self.busy.keys() - self.connected, key=str)))
        self.plan.joined(address)
        self.connected.add(address)

    @precondition(lambda self: self.busy)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(sorted(self.busy, key=str)))
        self.plan.ended(address)
        del self.busy[address]
        self.connected.discard(address)

    @invariant()
    def it_tells_whom_it_knows(self) -> None:
        agents = Role.AGENT in self.known.values() or any(each.role is Role.AGENT for each in self.busy.values())
        assert self.plan.knows_agents == agents
        assert self.plan.exhausted == (not self.known and not self.busy.keys() - self.connected)


class AnyAnnounces(RuleBasedStateMachine):
    """Every swarm that is open is announced again and again, none too often; each goodbye is said once."""

    SWARMS = tuple(SwarmId(bytes([number]) * 20) for number in range(4))
    swarms = st.sampled_from(SWARMS)

    def __init__(self) -> None:
        super().__init__()
        self.schedule = AnnounceSchedule(random.Random(1))
        self.open: set[SwarmId] = set()
        self.leaving: set[SwarmId] = set()
        self.under_way: list[tuple[SwarmId, ...]] = []
        self.announced_at: dict[SwarmId, float] = {}
        self.now = 0.0

    @rule(swarm=swarms, wanted=st.booleans())
    def begin(self, swarm: SwarmId, wanted: bool) -> None:
        self.open.add(swarm)
        self.leaving.discard(swarm)
        self._handle(announces.SwarmOpened(swarm, wanted))

    @rule(swarm=swarms)
    def complete(self, swarm: SwarmId) -> None:
        if swarm in self.open:
            self._handle(announces.SwarmCompleted(swarm))

    @rule(swarm=swarms)
    def close(self, swarm: SwarmId) -> None:
        if swarm in self.open:
            self.open.discard(swarm)
            self.leaving.add(swarm)
            self._handle(announces.SwarmClosed(swarm))

    @rule(swarm=swarms)
    def need(self, swarm: SwarmId) -> None:
        self._handle(announces.PeersNeeded(swarm))

    @precondition(lambda self: self.under_way)
    @rule(good=st.booleans(), interval=st.floats(0.5, 20))
    def answer(self, good: bool, interval: float) -> None:
        swarms = self.under_way.pop(0)
        self._handle(announces.Answered(swarms, interval) if good else announces.Unanswered(swarms))

    @rule()
    def wait_until_due(self) -> None:
        deadline = self.schedule.next_deadline()
        if deadline is not None and deadline < float("inf"):
            self.now = max(self.now, deadline)
            self._handle(announces.Tick())

    def _handle(self, event: announces.Event) -> None:
        for order in self.schedule.handle(event, self.now):
            self._take(order)

    def _take(self, order: Announce) -> None:
        named = tuple(each.swarm for each in order.announcements)
        assert len(set(named)) == len(named) <= announces.BATCH
        for each in order.announcements:
            assert each.swarm in (self.leaving if each.left else self.open)
            self.leaving.discard(each.swarm)
        self.under_way.append(named)

    @invariant()
    def nothing_open_is_forgotten(self) -> None:
        """Its next announce is due at some time, or an answer is waited for."""
        waiting = {swarm for swarms in self.under_way for swarm in swarms}
        deadline = self.schedule.next_deadline()
        if (self.open | self.leaving) - waiting:
            assert deadline is not None
            assert deadline < float("inf")
        assert (deadline is None) == (not self.open | self.leaving), "what was left is forgotten"


for machine in (AnyRequests, AnyAsking, AnyDials, AnyAnnounces):
    machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)

TestAnyRequests = AnyRequests.TestCase
TestAnyAsking = AnyAsking.TestCase
TestAnyDials = AnyDials.TestCase
TestAnyAnnounces = AnyAnnounces.TestCase
