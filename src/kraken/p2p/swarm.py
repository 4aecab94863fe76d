"""One swarm: everything that is decided about sharing one blob.

`handle(event, now)` takes what happened and returns what is to be done; `next_deadline()` says when to
come back with a `Tick` if nothing happens before. The same seed and the same events give the same
actions. Invariants, whatever the order of events:

- a piece is asked of one peer at a time, and of one more only when the first is late;
- no more than `requests_per_peer` pieces are asked of a peer, or one more while queues are long;
- no more than `requests_total` are asked of all agents together that are not slow; in proportion more with more
  connections than usual, and to keep up with the agents around half as many more, up to what `accept` connections give;
- no more are asked of anybody than the allowance, if there is one, except those that were before it was lowered;
- a piece that is held is never asked for, and a piece that nobody sent is never held.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kraken.core.peers import PeerId, Role
from kraken.core.pieces import PieceIndex, Pieces
from kraken.p2p.bitfield import between, everything, set_of
from kraken.p2p.dialing import DialPlan
from kraken.p2p.events import (
    Action,
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
from kraken.p2p.keeping_up import KeepingUp
from kraken.p2p.ledger import PeerKey, RequestLedger
from kraken.p2p.neighbourhood import FAR_AGENT, NEAR_AGENT, Neighbour, Neighbourhood
from kraken.p2p.news import SLOW_PIECE_SECONDS, News
from kraken.p2p.picker import Picker, largest_window_of, window_of
from kraken.p2p.priority import Priority
from kraken.p2p.request_budget import Wish
from kraken.p2p.settings import SwarmSettings
from kraken.p2p.suggestions import Lot, Suggestions
from kraken.p2p.upload_slots import RejectSpan, UploadSlots

_FEW = 4
"""With no more than this part of the possible requests outstanding, an agent has few."""

_PROBE_SECONDS = 0.5
"""So often an origin may be asked for what agents hold, when requests are few: to learn how quick it is."""

_SMALL_PIECES = 128
_SMALL_PER_PEER, _SMALL_IN_ALL, _SMALL_SLOTS = 1, 8, 4
_SMALL_BATCH_SECONDS = 0.0002
"""A blob of few pieces is bound by latency: one request a peer, eight in all and four slots spread it best, and news is
not held back for long. 1,000 hosts that begin at once have 20 MiB in 38 to 40 ms; with eight slots, or HAVEs gathered
for 0.5 ms, in a millisecond more."""

_CROWD = 8
"""With so many agents around us an origin has others to keep it busy, and gets one request at a time: what is asked of
it early only waits there, fifty pieces deep. That costs no speed, and saves a fifth of what origins upload."""

_LOOK_AGAIN = 16
"""With this part of the blob a swarm that has a reader asks the tracker once more how many fetch it. Whoever begins
first is told of few; if those kept to the usual window, 1,000 readers had 0.79 of line rate instead of 0.96."""

_TOO_MANY_TO_SHARE = 12
"""With fewer agents around us nearly all see each other, and share out among them what only origins have. In a larger
crowd the origins share it out, where somebody reads, latency binds the blob or the origins are what all wait for: 300
readers then wait 0.19 blob times beyond the ideal instead of 0.32, 1,000 hosts have 20 MiB in 37 ms instead of 38 to
42, and five images with half of their layers in common come at 0.82 of line rate instead of 0.74. Else our own share
is the faster way."""

_FIRST_PIECE_SLOTS = 3
"""A newcomer's first piece takes so many slots: the first tenth of 15,000 hosts has seven pieces more after 50 ms by
that. Two or four do as well. Not in a blob of few pieces, a small layer, whose newcomers have others to fetch."""

_LOAD_OF_OURS = 2
"""What we have asked of a peer counts so many times beside what waits there: news of it may still be on its way."""

_SCARCE = 64
"""While there are fewer pieces than this around us to ask for, of those that we lack, the crowd waits for new ones."""

_SOON = 32
"""What comes in the next of so many parts of the blob is sent before what comes after it, where somebody reads. With a
sixteenth readers wait no less, and 300 hosts have 0.88 of line rate (p99) where they have 0.90 with this."""

_IN_TURN = 4
"""Once in so many times who has waited longest is sent to all the same, so that who is ahead of others gets on too: 300
hosts have 0.969 of line rate by that, and 0.962 without, at the same lag."""

_REJECTION_REST = 0.05
"""Seconds for which a peer that rejected a request is asked for nothing."""

_REFUSALS_BELIEVED = 3
"""After so many rejections of one piece the peer is taken not to have it: its disk may have lost it."""

_FOREVER = float("inf")

_Spared = tuple[int, int, int, int]
"""The pieces that each kind of neighbour is not to be asked for."""

_NOTHING_SPARED: _Spared = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class _Reader:
    pieces: range
    part: bool


class Swarm:
    """The engine of one blob on one node."""

    def __init__(
        self,
        me: PeerId,
        pieces: Pieces,
        settings: SwarmSettings,
        rng: random.Random,
        held: int,
        zone: str = "",
        lot: Lot | None = None,
    ) -> None:
        """
        Args: held, the set of pieces on our disk, bit i = piece i; zone, the part of the network that we are in; lot,
        what falls to us as one of the blob's origins, None for an agent.
        """
        self.pieces = pieces
        self.settings = settings
        self.held = held
        self.wanted = False
        self.allowance: int | None = None
        """How many requests may be outstanding, as the host's other swarms leave room; None for no such limit."""
        self.around = Neighbourhood(me, zone, pieces.count)
        self._rng = rng
        self._all = everything(pieces.count)
        self._picker = Picker(window_of(settings.reader_window, pieces.count, crowd=0), rng)
        self._ledger = RequestLedger(settings.timeout_floor_seconds, settings.timeout_factor)
        in_bulk = pieces.count > _SMALL_PIECES  # else latency binds it
        self._uploads = UploadSlots(
            settings.upload_slots if in_bulk else min(settings.upload_slots, _SMALL_SLOTS),
            settings.queued_per_peer * pieces.piece_length,
            settings.queued_per_peer,
            self._sent_first,
            _FIRST_PIECE_SLOTS if in_bulk else 1,
        )
        self._plan = DialPlan(settings.dial, rng)
        self._readers: dict[int, _Reader] = {}
        self._probe_at = float("-inf")
        self._rested_at = _FOREVER  # when the first of the resting peers may be asked again
        self._keeping_up = KeepingUp(settings.requests_total // 2)
        self._suggestions = Suggestions(held, lot) if lot is not None else None
        self._chosen = 0  # of those that waited for a slot, so far
        self._asked_tracker = False
        self._looked_again = False
        self._actions: list[Action] = []
        self._per_peer, self._at_agents = settings.requests_per_peer, settings.requests_total
        gather_seconds = settings.have_batch_seconds
        self._in_bulk = in_bulk
        if not self._in_bulk:
            self._per_peer, self._at_agents = min(self._per_peer, _SMALL_PER_PEER), min(self._at_agents, _SMALL_IN_ALL)
            gather_seconds = min(gather_seconds, _SMALL_BATCH_SECONDS)
        self._news = News(self.around, self._all, gather_seconds)
        self._on: dict[type[Any], Callable[[Any, float], None]] = {
            PeerJoined: self._peer_joined,
            PeerLeft: self._peer_left,
            PeerHas: self._peer_has,
            PiecesSuggested: self._pieces_suggested,
            PeerChoked: self._peer_choked,
            SpanRequested: self._span_requested,
            SpanWithdrawn: self._span_withdrawn,
            SpanSent: self._span_sent,
            BytesArrived: self._bytes_arrived,
            PieceVerified: self._piece_verified,
            PieceCorrupt: self._piece_corrupt,
            PieceDropped: self._piece_dropped,
            PieceLost: self._piece_lost,
            RequestRejected: self._request_rejected,
            ReaderMoved: self._reader_moved,
            ReaderLeft: self._reader_left,
            DemandChanged: self._demand_changed,
            AllowanceChanged: self._allowance_changed,
            PeersOffered: self._peers_offered,
            DialFailed: self._dial_failed,
            Tick: self._tick,
        }

    @property
    def me(self) -> PeerId:
        return self.around.me

    @property
    def complete(self) -> bool:
        return self.held == self._all

    @property
    def requested(self) -> int:
        """Pieces that are asked for and have not come; one that is asked of two peers counts twice."""
        return self._ledger.total

    @property
    def appetite(self) -> int:
        """How many pieces could be asked for at once, if no other swarm were there: of peers that have what we miss."""
        missing, most = self._all & ~self.held, self._most_of_each()
        askable = sum(
            most[each.kind] for each in self.around.peers.values() if each.pieces & missing and not each.choking
        )
        return min(askable, self._most(), missing.bit_count())

    @property
    def rate(self) -> float:
        """Bytes per second at which pieces come, by Little's law; 0.0 while nothing is asked for, or nothing came."""
        usual = self._ledger.usual
        return self._ledger.total * self.pieces.piece_length / usual if usual else 0.0

    def wish(self, priority: Priority) -> Wish:
        """What is to be known of it where the swarms of a host share out requests."""
        return Wish(priority, self.pieces.piece_length, self.appetite, self.rate)

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take in what happened at `now` (monotonic seconds). Returns: what is to be done, in this order."""
        self._on[type(event)](event, now)
        actions, self._actions = self._actions, []
        return actions

    def next_deadline(self) -> float | None:
        """When a Tick is due at the latest; None when only an event can change anything."""
        deadline = self._ledger.next_deadline()
        flush_at = self._news.flush_at
        if flush_at is not None and (deadline is None or flush_at < deadline):
            deadline = flush_at
        if self._rested_at < _FOREVER and self.wanted and not self.complete:
            return self._rested_at if deadline is None else min(deadline, self._rested_at)
        return deadline

    # Peers come and go.

    def _peer_joined(self, event: PeerJoined, now: float) -> None:
        if event.dialled is not None:
            self._plan.joined(event.dialled)
        kind, choking = self.around.kind_of(event.role, event.zone), not event.kraken
        self.around.joined(
            event.peer, Neighbour(event.peer_id, event.role, event.kraken, event.dialled, choking, now, kind)
        )
        if self._suggestions is not None and event.role is Role.AGENT and event.kraken:
            self._suggestions.joined(event.peer)
            self._suggest(self._suggestions)
        missed = self.held & ~event.told if event.told is not None else 0
        if missed:  # verified since the handshake, when it could not be told yet
            self._actions.append(TellHave((event.peer,), missed, self._uploads.waiting))

    def _peer_left(self, event: PeerLeft, now: float) -> None:
        neighbour = self.around.left(event.peer)
        if neighbour is None:
            return
        if neighbour.role is Role.AGENT:
            self._picker.availability.lost(neighbour.pieces)
        if self._suggestions is not None:
            self._suggestions.left(event.peer)
            self._suggest(self._suggestions)
        self._ledger.left(event.peer)
        self._actions += self._uploads.left(event.peer)
        if neighbour.dialled is not None:
            self._plan.ended(neighbour.dialled)
        self._dial()
        self._ask(now)

    def _peers_offered(self, event: PeersOffered, _now: float) -> None:
        self._asked_tracker = False
        if event.crowd:
            self._picker.window = window_of(self.settings.reader_window, self.pieces.count, event.crowd)
        self._plan.offered(list(event.candidates))
        self._dial()

    def _look_again(self) -> None:
        """Ask the tracker for the size of the crowd once more, where a larger one would have a larger window."""
        if self._readers and _LOOK_AGAIN * self.held.bit_count() >= self.pieces.count:
            self._looked_again = True
            if self._in_bulk and self._picker.window < largest_window_of(self.pieces.count):
                self._asked_tracker = True
                self._actions.append(AskTracker())

    def _dial_failed(self, event: DialFailed, _now: float) -> None:
        self._plan.ended(event.address)
        self._dial()

    def _dial(self) -> None:
        """Open connections while pieces are wanted, and ask the tracker when there are too few to open."""
        if self.complete or not self.wanted:
            return
        known = {self.me, *(each.peer_id for each in self.around.peers.values())}
        self._actions += self._plan.dials(self.settings.accept - len(self.around.peers), known)
        if self._plan.exhausted and len(self.around.peers) < self.settings.few_peers and not self._asked_tracker:
            self._asked_tracker = True
            self._actions.append(AskTracker())

    # What others have, and what they want.

    def _peer_has(self, event: PeerHas, now: float) -> None:
        neighbour = self.around.peers.get(event.peer)
        if neighbour is None:
            return
        new = event.pieces & ~neighbour.pieces
        if neighbour.role is Role.AGENT:
            if neighbour.pieces:  # else that is what it had before
                self._keeping_up.neighbour_gained(new.bit_count())
            self._picker.availability.gained(new)
        neighbour.pieces |= new
        if event.waiting is not None:
            self.around.has_waiting(neighbour, event.waiting)
        if self._suggestions is not None:
            self._suggestions.arrived(event.peer, new)
            self._suggest(self._suggestions)
        if not self._part_from_complete(event.peer, neighbour) and new:
            self._ask_one(event.peer, neighbour, new, now)

    def _pieces_suggested(self, event: PiecesSuggested, now: float) -> None:
        neighbour = self.around.peers.get(event.peer)
        if neighbour is None or neighbour.role is not Role.ORIGIN:
            return
        neighbour.suggested |= event.pieces
        there = event.pieces & self.held
        if there:
            self._actions.append(TellHave((event.peer,), there, self._uploads.waiting))
        if self._heeds_suggestions():
            self._ask(now)

    def _suggest(self, suggestions: Suggestions) -> None:
        self._actions += [SuggestPieces(peer, pieces) for peer, pieces in suggestions.due()]

    def _peer_choked(self, event: PeerChoked, now: float) -> None:
        neighbour = self.around.peers.get(event.peer)
        if neighbour is None:
            return
        neighbour.choking = event.choked
        if event.choked:
            self._ledger.left(event.peer)  # BEP 3: requests are void when choked
        self._ask(now)

    def _span_requested(self, event: SpanRequested, _now: float) -> None:
        if self._suggestions is not None:
            self._suggestions.asked(event.peer, event.span.piece)
            self._suggest(self._suggestions)
        if self.held >> event.span.piece & 1:
            neighbour = self.around.peers.get(event.peer)
            has_nothing = neighbour is not None and not neighbour.pieces
            self._actions += self._uploads.requested(event.peer, event.span, has_nothing=has_nothing)
        else:
            self._actions.append(RejectSpan(event.peer, event.span))

    def _sent_first(self, asked: Iterable[PieceIndex]) -> int:
        """Those of the pieces that peers wait for which are sent before others.

        A queue is as long as its host has peers, twenty pieces, and a piece would wait in one on each step of its way
        to a reader. So an origin sends what it suggested in the order of the blob, and an agent what readers wait for.
        """
        pieces = set_of(asked)
        if self._suggestions is not None:
            return self._suggestions.earliest_of(pieces)
        self._chosen += 1
        return (self._due_soon(pieces) if self._chosen % _IN_TURN else 0) or self._scarce(pieces)

    def _due_soon(self, asked: int) -> int:
        """What readers have passed, or soon will. Those of other agents are about where ours are, or behind them."""
        if not self._readers or not self._in_bulk:
            return 0
        for reader in self._readers.values():
            asked &= ~between(reader.pieces.start + self.pieces.count // _SOON, reader.pieces.stop)
        return asked

    def _scarce(self, asked: int) -> int:
        """The rarest, while little is to be had.

        With new pieces late early hosts lack something to ask for, while a quarter of all links has nothing to send.
        Later it is of no use: nobody lacks anything then, and who waits longer for what is common has less.
        """
        missing, availability = self._all & ~self.held, self._picker.availability
        around = missing & availability.held
        if around == missing or (around & ~self._ledger.outstanding).bit_count() >= _SCARCE:
            return 0
        return availability.with_few_holders(availability.rarest(asked))

    def _span_withdrawn(self, event: SpanWithdrawn, _now: float) -> None:
        self._actions += self._uploads.withdrawn(event.peer, event.span)

    def _span_sent(self, event: SpanSent, _now: float) -> None:
        self._actions += self._uploads.sent(event.peer)

    # Pieces come in.

    def _bytes_arrived(self, event: BytesArrived, _now: float) -> None:
        neighbour = self.around.peers.get(event.peer)
        if neighbour is not None:
            neighbour.heard_at = max(neighbour.heard_at, event.at)

    def _piece_verified(self, event: PieceVerified, now: float) -> None:
        if event.peer is not None:
            took = self._ledger.arrived(event.peer, event.piece, now)
            if took is not None:
                self.around.delivered(event.peer, took, self._ledger.usual or took, now)
            if not self._in_bulk and self._piece_seconds() >= SLOW_PIECE_SECONDS:
                self._in_bulk = True
                self._per_peer, self._at_agents = self.settings.requests_per_peer, self.settings.requests_total
        for other in self._ledger.askers(event.piece):
            self._ledger.withdrawn(other, event.piece)
            self._actions.append(WithdrawAsk(other, event.piece))
        if not self.held >> event.piece & 1:
            self.held |= 1 << event.piece
            self._news.verified(event.piece, now, self._piece_seconds())
            self._keeping_up.gained(self.around.agents)
            if not self._looked_again:
                self._look_again()
        if self.complete:
            self._flush_news()
            for peer, other_side in list(self.around.peers.items()):
                self._part_from_complete(peer, other_side)
        else:
            self._ask(now)

    def _piece_seconds(self) -> float:
        """Seconds from one piece to the next, as far as known: as many as are asked for come in the time of one."""
        return (self._ledger.usual or 0.0) / self._at_agents

    def _piece_corrupt(self, event: PieceCorrupt, now: float) -> None:
        self._ledger.withdrawn(event.peer, event.piece)
        if event.peer in self.around.peers:
            self.around.peers[event.peer].rest_until = _FOREVER
        self._actions.append(BanPeer(event.peer, event.piece))
        self._ask(now)

    def _piece_dropped(self, event: PieceDropped, _now: float) -> None:
        self._ledger.withdrawn(event.peer, event.piece)  # not asked anew here: there is no room for it now

    def _piece_lost(self, event: PieceLost, now: float) -> None:
        self.held &= ~(1 << event.piece)
        self._news.lost(event.piece)
        self._dial()
        self._ask(now)

    def _request_rejected(self, event: RequestRejected, now: float) -> None:
        neighbour = self.around.peers.get(event.peer)
        if neighbour is not None and self._ledger.withdrawn(event.peer, event.piece):
            neighbour.rest_until = max(neighbour.rest_until, now + _REJECTION_REST)
            self._rested_at = min(self._rested_at, neighbour.rest_until)
            if not self._ledger.count(event.peer):  # else it may merely be full of what we asked before
                self._refused(neighbour, event.piece)
        self._ask(now)

    def _refused(self, neighbour: Neighbour, piece: PieceIndex) -> None:
        refusals = neighbour.refusals[piece] = neighbour.refusals.get(piece, 0) + 1
        if refusals == _REFUSALS_BELIEVED:
            del neighbour.refusals[piece]
            self._no_longer_has(neighbour, piece)

    def _no_longer_has(self, neighbour: Neighbour, piece: PieceIndex) -> None:
        if neighbour.role is Role.AGENT:
            self._picker.availability.lost(neighbour.pieces & 1 << piece)
        neighbour.pieces &= ~(1 << piece)

    # Who waits for what.

    def _reader_moved(self, event: ReaderMoved, now: float) -> None:
        self._readers[event.reader] = _Reader(range(event.start, event.stop), event.part)
        self._ask(now)

    def _reader_left(self, event: ReaderLeft, _now: float) -> None:
        self._readers.pop(event.reader, None)

    def _demand_changed(self, event: DemandChanged, now: float) -> None:
        self.wanted = event.wanted
        self._dial()
        self._ask(now)

    def _allowance_changed(self, event: AllowanceChanged, now: float) -> None:
        self.allowance = event.requests
        self._ask(now)

    # Time passes.

    def _tick(self, _event: Tick, now: float) -> None:
        if self._news.flush_at is not None and self._news.flush_at <= now:
            self._flush_news()
        if self._rested_at <= now:
            self._end_rests(now)
        for overdue in self._ledger.expire(now):
            self._peer_is_late(overdue.peer, now)
        self._ask(now)

    def _end_rests(self, now: float) -> None:
        self._rested_at = _FOREVER
        for neighbour in self.around.peers.values():
            if neighbour.rest_until <= now:
                neighbour.rest_until = 0.0
            else:
                self._rested_at = min(self._rested_at, neighbour.rest_until)

    def _peer_is_late(self, peer: PeerKey, now: float) -> None:
        neighbour = self.around.is_late(peer)
        if now - neighbour.heard_at >= self.settings.silent_seconds and neighbour.rest_until < _FOREVER:
            neighbour.rest_until = _FOREVER
            self._actions.append(ClosePeer(peer, "silent"))

    def _flush_news(self) -> None:
        sparing = self._piece_seconds() >= SLOW_PIECE_SECONDS and not self.complete
        self._actions += self._news.flush(self._uploads.waiting, sparing=sparing)

    def _part_from_complete(self, peer: PeerKey, neighbour: Neighbour) -> bool:
        """Two peers that both hold everything have nothing to say to each other."""
        if self.complete and neighbour.pieces == self._all:
            self._actions.append(ClosePeer(peer, "both complete"))
            return True
        return False

    # Whom to ask for what.

    def _ask(self, now: float) -> None:
        """Fill the request pipeline: always at the least busy peer that has something for us."""
        if not self._room() or self.complete:
            return
        peers = self.around.peers.items()
        if not (self.around.origins or self.around.far):
            self._fill(peers, _NOTHING_SPARED, now)
            return
        held = self.around.held_by_agents()
        nearby = self.around.held_by_agents(NEAR_AGENT) if self.around.far else held
        suggested = self._heeds_suggestions()
        ours = self.around.suggested() | self._exclusive() if suggested else self.around.our_share()
        if self.around.origins and (suggested or self._all & ours & ~(held | self.held | self._ledger.outstanding)):
            self._fill(peers, self._spared(held, nearby, self._all & ~ours), now)
            if self._has_few():
                self._fill(peers, self._spared(held, nearby), now, at_most=1)
        else:
            self._fill(peers, self._spared(held, nearby), now)
        if held and (not self._ledger.total or (self.around.origins and self._may_probe(now))):
            self._probe_at = now + _PROBE_SECONDS
            self._fill(peers, (0, nearby if self.around.far and self._ledger.total else 0, 0, 0), now, at_most=1)

    def _spared(self, held: int, nearby: int, others: int = 0) -> _Spared:
        """Origins are asked for nothing that agents hold, and far agents for nothing that near ones do.

        An origin that is near is asked before agents of other zones. Args: others, what falls to others to fetch from
        origins.
        """
        return 0, nearby if self.around.far else 0, nearby | others, held | others

    def _ask_one(self, peer: PeerKey, neighbour: Neighbour, new: int, now: float) -> None:
        """Fill the pipeline after a peer got new pieces. Nobody else has become worth asking by that."""
        if not self._room() or self.complete:
            return
        if neighbour.role is Role.ORIGIN or (self.around.origins and self._has_few()):
            self._ask(now)
        elif new & ~self.held:
            nearby = self.around.held_by_agents(NEAR_AGENT) if neighbour.kind == FAR_AGENT else 0
            self._fill(((peer, neighbour),), (0, nearby, 0, 0), now)

    def _may_probe(self, now: float) -> bool:
        return now >= self._probe_at and self._has_few()

    def _has_few(self) -> bool:
        """Whether few requests are outstanding, so that the pipeline may soon run dry."""
        usual = self._at_agents if self.allowance is None else min(self._at_agents, self.allowance)
        return self._ledger.total <= usual // _FEW

    def _room(self) -> int:
        """How many more requests may go out now: as many as the other swarms of this host leave room for, too."""
        if not self.wanted:
            return 0
        most = self._most()
        if self.allowance is not None:
            most = min(most, self.allowance)
        return max(most - self._ledger.total, 0)

    def _most(self) -> int:
        """How many requests may be outstanding, as far as this swarm is concerned.

        Who has many connections is in the thick of a crowd: its requests wait the longest, and with as many as the
        others it would get less than they do. Who falls behind all the same has some more, up to as many as with all
        connections. Those at origins, which wait longer still, are not counted, nor are those at agents that are slow
        or dead: they would stand in the way of others.
        """
        connections, usual, accept = len(self.around.peers), 2 * self.settings.dial, self.settings.accept
        most = self._at_agents * max(connections, usual) // usual
        if self._in_bulk:
            most = max(most, min(most + self._keeping_up.more, self._at_agents * accept // usual))
        for uncounted in (self.around.origins, self.around.slow):
            if uncounted:
                most += sum(map(self._ledger.count, uncounted))
        return most

    def _most_of_each(self) -> tuple[int, int, int, int]:
        """How many pieces may be asked at once of a neighbour, by kind.

        With few peers and long queues the usual two do not do. An origin that has others to keep it busy gets one.
        """
        agent = self._per_peer + (self._in_bulk and self.around.queue > self.settings.upload_slots)
        origin = 1 if self.around.agents >= _CROWD else self._per_peer
        return agent, agent, origin, origin

    def _fill(
        self, peers: Iterable[tuple[PeerKey, Neighbour]], spared: _Spared, now: float, at_most: int | None = None
    ) -> None:
        """Ask these peers for pieces until the pipeline is full, or none of them has more.

        Args: spared, what each kind of them is not asked for; at_most, how many requests to make.
        """
        ledger = self._ledger
        most = self._most_of_each()
        room = self._room() if at_most is None else at_most
        free = self._all & ~self.held & ~ledger.outstanding
        ledger.hurry(self._in_bulk and not free)
        late = ledger.late & ~self.held
        queue = self._worth_asking(peers, [free & ~each | late for each in spared], most)
        if not queue:
            return
        readers, exclusive = [each.pieces for each in self._readers.values()], self._exclusive()
        in_order = bool(exclusive) or (bool(readers) and not self._in_a_crowd())
        while room > 0 and queue and (free or late):
            late_peer, load, _, peer, neighbour = heapq.heappop(queue)
            candidates = self._candidates(peer, neighbour, free & ~spared[neighbour.kind], late)
            if not candidates:
                continue
            piece = self._picker.pick(candidates & exclusive or candidates, readers, in_order=in_order)
            if not ledger.count(peer):
                neighbour.heard_at = max(neighbour.heard_at, now)  # it owed nothing: its silence begins here
            ledger.asked(peer, piece, now)
            self._actions.append(AskPiece(peer, piece))
            free &= ~(1 << piece)
            late &= ~(1 << piece)
            room -= 1
            if ledger.count(peer) < most[neighbour.kind]:
                heapq.heappush(queue, (late_peer, load + _LOAD_OF_OURS, self._rng.random(), peer, neighbour))

    def _worth_asking(
        self, peers: Iterable[tuple[PeerKey, Neighbour]], wanted: Sequence[int], most: Sequence[int]
    ) -> list[tuple[bool, int, float, PeerKey, Neighbour]]:
        """A heap of the peers that may be asked for something.

        Late peers last; then by what waits at the peer and what we have asked of it ourselves; then by chance.

        Args: wanted, the pieces of interest, and most, how many requests are allowed, both by kind.
        """
        queue, count, chance = [], self._ledger.counts.get, self._rng.random
        for peer, each in peers:
            if each.pieces & wanted[each.kind] and not (each.choking or each.rest_until):
                asked = count(peer, 0)
                if asked < most[each.kind]:
                    queue.append((each.late, each.waiting + _LOAD_OF_OURS * asked, chance(), peer, each))
        if len(queue) > 1:
            heapq.heapify(queue)
        return queue

    def _candidates(self, peer: PeerKey, neighbour: Neighbour, free: int, late: int) -> int:
        """What this peer could be asked for; a late piece of anyone who was not asked for it yet."""
        if late:
            free |= late & ~self._ledger.asked_of(peer)
        return neighbour.pieces & free

    def _heeds_suggestions(self) -> bool:
        if self.around.agents < _TOO_MANY_TO_SHARE:
            return False
        return bool(self._readers) or not self._in_bulk or self.around.waits_for_origins(self._ledger.usual)

    def _in_a_crowd(self) -> bool:
        """Whether other agents fetch the blob too, who should then fetch other pieces than we do."""
        return self._plan.knows_agents or self.around.agents > 0

    def _exclusive(self) -> int:
        """When the only reader wants a part of the blob: what it misses of it. It comes before the rest.

        A client that reads several ranges at once goes through the whole blob with them. In a crowd it is served as one
        reader is: 60 hosts that all asked for the next pieces of four ranges took 13 copies from the origins.
        """
        if len(self._readers) != 1:
            return 0
        (reader,) = self._readers.values()
        missing = self._all & ~self.held
        wanted = between(reader.pieces.start, reader.pieces.stop) & missing if reader.part else 0
        return wanted if wanted != missing else 0
