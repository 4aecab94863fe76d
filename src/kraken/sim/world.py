"""A crowd under a virtual clock: carries events to the engines, and does what they order.

The engines are those that ship (`Swarm`, `AnnounceSchedule`, `PeerTable`); what is modelled here is what
`p2p.io` and the network do around them. Everything that is chance comes from the seed of the scenario, of a
generator for each host, so that one host more does not change the draws of the others.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, get_args

from kraken.core.metainfo import SwarmId
from kraken.core.peers import Address, PeerId, Role
from kraken.core.pieces import PieceIndex
from kraken.p2p import announces
from kraken.p2p.announces import AnnounceSchedule
from kraken.p2p.bitfield import everything, first_gap
from kraken.p2p.dialing import Candidate, Dial
from kraken.p2p.events import (
    AskPiece,
    AskTracker,
    BanPeer,
    BytesArrived,
    ClosePeer,
    DemandChanged,
    DialFailed,
    Event,
    PeerHas,
    PeerJoined,
    PeerLeft,
    PeersOffered,
    PieceCorrupt,
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
from kraken.p2p.suggestions import Lot
from kraken.p2p.swarm import Swarm
from kraken.p2p.upload_slots import BlockSpan, RejectSpan, SendSpan
from kraken.sim.clock import VirtualClock
from kraken.sim.desk import Desk
from kraken.sim.event_log import EventLog
from kraken.sim.graph import regular
from kraken.sim.host import NEVER, Host, Link, Reader, Wire
from kraken.sim.links import Links
from kraken.sim.scenario import Scenario
from kraken.sim.shares import HostShares
from kraken.tracker.messages import AnnounceReply, PeerEntry

_SWARM = SwarmId(b"simulated".ljust(20))
_TICK = Tick()
_KINDS = get_args(Event)
_TELL_SECONDS = 1.0
"""So often an engine hears who sends payload. The shell does it with each tick; silence is 15 s, so this will do."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The crowd at one moment; all but the time are parts of the whole, 0 to 1."""

    time: float  # seconds
    begun: float  # of the agents
    held: float  # of the pieces of all agents
    finished: float  # of the agents
    rarest: float  # of the agents: how many hold the piece that the fewest hold


def links_of(scenario: Scenario, clock: VirtualClock, rng: random.Random) -> Links:
    """What moves the pieces of a scenario."""
    quantum = scenario.network.quantum_for(scenario.pieces.piece_length)

    def handling(size: int) -> float:
        return scenario.verify + size * scenario.verify_per_byte

    return Links(clock, scenario.network, quantum, rng, handling)


@dataclass(frozen=True, slots=True)
class Ground:
    """What the worlds of several blobs share: the time, the hosts' links, and who hears of a host that has a blob."""

    clock: VirtualClock
    links: Links
    ends: Sequence[Link]  # of each agent and then each origin
    finished: Callable[[Host], None]
    crowd: Sequence[int]  # which host of all that there are each agent is
    shares: Sequence[HostShares]  # what the blobs of each of them share, in the order of `ends`


class World:
    """The hosts of a scenario. `run` lets them pull until every live one has the blob."""

    def __init__(
        self, scenario: Scenario, samples: int = 0, ground: Ground | None = None, swarm: SwarmId = _SWARM
    ) -> None:
        """Args: samples, how many are taken in the ideal time of a pull; ground, where other blobs are pulled as well:
        then no host begins before `begin`, and the clock is somebody else's to run; swarm, another one for each blob.
        """
        self.scenario = scenario
        self.swarm = swarm
        self.clock = VirtualClock() if ground is None else ground.clock
        self._ground = ground
        self.pieces = scenario.pieces
        self.log = EventLog(_KINDS)
        self.wall_seconds = 0.0
        self.samples: list[Sample] = []
        self._copies = [0] * self.pieces.count
        self._rng = random.Random(f"{scenario.seed}/world")
        self._keys = count(1)
        network = scenario.network
        self._behind = network.control_waits
        self.links = links_of(scenario, self.clock, self._rng) if ground is None else ground.links
        self.hosts = [self._make(number) for number in range(scenario.hosts + scenario.origins)]
        self.agents, self.origins = self.hosts[: scenario.hosts], self.hosts[scenario.hosts :]
        self._by_address = {host.candidate.address: host for host in self.hosts}
        self._by_name = {host.entry.host: host for host in self.hosts}
        self._spans = [BlockSpan(piece, 0, self.pieces.size(piece)) for piece in self.pieces.indices()]
        self._unfinished = scenario.hosts - scenario.faults.liars
        self._perform: dict[type[Any], Callable[[Host, Any], None]] = {
            AskPiece: self._ask_piece,
            WithdrawAsk: self._withdraw,
            TellHave: self._tell_have,
            SuggestPieces: self._suggest,
            SendSpan: self._send_span,
            RejectSpan: self._reject,
            ClosePeer: self._close_peer,
            BanPeer: self._ban_peer,
            AskTracker: self._ask_tracker,
            Dial: self._dial,
        }
        self.desk = Desk(
            self.clock,
            scenario.announce,
            scenario.tracker_service,
            random.Random(f"{scenario.seed}/tracker"),
            self.links.latency,
            self._answered,
            [host.entry for host in self.origins],
        )
        self._plan()
        if samples:
            self.clock.at(0.0, self._sample, scenario.ideal / samples)

    def begin(self, number: int) -> None:
        """Let an agent want the blob from now on. Only for a world that shares its ground."""
        host = self.agents[number]
        host.began_at = self.clock.now
        self._begin(host, None)

    def run(self) -> None:
        """Run until every live agent has the blob, or the scenario's horizon."""
        began = time.perf_counter()
        self.clock.run(self.scenario.horizon)
        self.wall_seconds += time.perf_counter() - began

    def unfinished(self) -> list[Host]:
        """The agents that are alive and honest, and do not have the blob."""
        return [host for host in self.agents if not (host.dead or host.lies) and host.finished_at is None]

    def _sample(self, step: float, _: Any) -> None:
        count = len(self.agents)
        self.samples.append(
            Sample(
                self.clock.now,
                sum(host.begun for host in self.agents) / count,
                sum(self._copies) / (count * self.pieces.count),
                sum(host.finished_at is not None for host in self.agents) / count,
                min(self._copies) / count,
            )
        )
        self.clock.at(self.clock.now + step, self._sample, step)

    # How it begins, and what goes wrong.

    def _make(self, number: int) -> Host:
        scenario = self.scenario
        rng = random.Random(f"{scenario.seed}/{number}")
        origin = number >= scenario.hosts
        peer_id = PeerId(rng.randbytes(20))
        held = everything(self.pieces.count) if origin else 0
        role = Role.ORIGIN if origin else Role.AGENT
        lot = Lot(number - scenario.hosts, scenario.origins) if origin else None
        name = f"host-{number}"
        zone = f"zone-{self._place(number) % scenario.zones}" if scenario.zones > 1 else ""
        return Host(
            number,
            Swarm(peer_id, self.pieces, scenario.swarm, rng, held, zone, lot),
            rng,
            AnnounceSchedule(rng),
            Candidate(Address(name, 1), role, peer_id),
            PeerEntry(peer_id, name, 1, role.value),
            origin,
            Link(1.0 / scenario.network.link) if self._ground is None else self._ground.ends[number],
            zone,
            self,
            begun=origin,
        )

    def _place(self, number: int) -> int:
        """Where a host stands when hosts, or origins, are dealt to zones."""
        if number >= self.scenario.hosts:
            return number - self.scenario.hosts
        return number if self._ground is None else self._ground.crowd[number]

    def _plan(self) -> None:
        scenario, rng, agents = self.scenario, self._rng, self.agents
        for host in agents:
            host.began_at = rng.uniform(0.0, scenario.arrivals)
        for host in rng.sample(agents, round(scenario.late * len(agents))):
            host.began_at = scenario.late_at + rng.uniform(0.0, scenario.arrivals)
        for host in agents if self._ground is None else ():
            self.clock.at(host.began_at, self._begin, host)
        faults = scenario.faults
        # Nobody is two of these: what is told of stragglers is then of live and honest ones.
        chosen = rng.sample(agents, len(agents))
        dying, slow = round(faults.deaths * len(agents)), round(faults.stragglers * len(agents))
        for host in chosen[:dying]:
            self.clock.at(host.began_at + rng.uniform(0.0, scenario.ideal), self._die, host)
        for host in chosen[dying : dying + slow]:
            host.slow = True
            host.link.seconds_per_byte *= faults.slowness
        for host in chosen[dying + slow : dying + slow + faults.liars]:
            host.lies = True
        if scenario.degree is not None:
            self._plan_graph(scenario.degree)

    def _plan_graph(self, degree: int) -> None:
        edges = regular(len(self.agents), degree, self._rng)
        for origin in self.origins:
            chosen = self._rng.sample(self.agents, min(self.scenario.origin_degree, len(self.agents)))
            edges += [(agent.number, origin.number) for agent in chosen]
        for one, two in edges:
            first, second = self.hosts[one], self.hosts[two]
            at = max(first.began_at, second.began_at) + self.scenario.network.dial
            first.greeting += 1
            second.greeting += 1
            self.clock.at(at, self._greet, first, second)

    def _begin(self, host: Host, _: Any) -> None:
        """A pull begins: metainfo first, one round trip to the tracker; then the announce."""
        if not host.dead:
            host.begun = True
            if self._ground is not None:
                self._ground.shares[host.number].wants(self.swarm, host)
            self.feed(host, DemandChanged(wanted=True))
            if self.scenario.readers:
                self._begin_reading(host)
            if self.scenario.degree is None:
                wait = self.links.latency() + self.links.latency()
                self.clock.at(self.clock.now + wait, self._opened, host)

    def _opened(self, host: Host, _: Any) -> None:
        self._schedule(host, announces.SwarmOpened(self.swarm, wanted=True))

    def _die(self, host: Host, _: Any) -> None:
        host.dead = True
        if host.finished_at is None:
            self._one_less()
        for wire in list(host.wires.values()):
            self.links.cut(wire)
            self.clock.at(self.clock.now + self.scenario.faults.notice, self._noticed, self._twin(wire))

    def _noticed(self, wire: Wire, _: Any) -> None:
        """A host finds out that the other side of a connection is gone."""
        if wire.open:
            self._part(wire)

    # Events in, orders out.

    def feed(self, host: Host, event: Event) -> None:
        """Something happens at a host: its engine takes it in, and what it orders is done."""
        if host.dead:
            return
        now = self.clock.now
        self.log.note(now, host.number, event)
        engine = host.engine
        for action in engine.handle(event, now):
            self._perform[type(action)](host, action)
        deadline = engine.next_deadline()
        if deadline is not None and deadline < host.timer:
            host.timer = max(now, deadline)
            self.clock.at(host.timer, self._tick, host)

    def _tick(self, host: Host, _: Any) -> None:
        now = self.clock.now
        if host.timer != now or host.dead:
            return  # an earlier one took its place
        host.timer = NEVER
        if now - host.told_at >= _TELL_SECONDS:
            host.told_at = now
            for key, wire in list(host.wires.items()):
                self.feed(host, BytesArrived(key, min(self._twin(wire).heard_at, now)))
        self.feed(host, _TICK)

    def _tell(self, wire: Wire, event: Event) -> None:
        """Send a message along a connection; `event` is what it is to the receiver."""
        if self._behind and wire.left:
            wire.behind.append(event)
        else:
            self.clock.at(self.clock.now + self.links.latency(), self._deliver, wire, event)

    def _deliver(self, wire: Wire, event: Event) -> None:
        if wire.open and not (type(event) is SpanWithdrawn and self._stopped(self._twin(wire), event)):
            self.feed(wire.receiver, event)

    def _stopped(self, wire: Wire, event: SpanWithdrawn) -> bool:
        """Whether what is withdrawn still waited for a slot, and so is not sent: that is the node's doing."""
        if self._ground is None or wire.due != event.span:
            return False
        if not self._ground.shares[wire.sender.number].is_waiting(wire):
            return False
        self._end_slot(wire)
        self._tell(wire, RequestRejected(wire.peer_key, event.span.piece))
        self.feed(wire.sender, SpanSent(wire.key))
        return True

    # What engines order.

    def _ask_piece(self, host: Host, order: AskPiece) -> None:
        wire = host.wires.get(order.peer)
        if wire is not None:
            host.tally.requests += 1
            self._twin(wire).unwanted.discard(order.piece)
            self._tell(wire, SpanRequested(wire.peer_key, self._spans[order.piece]))

    def _withdraw(self, host: Host, order: WithdrawAsk) -> None:
        wire = host.wires.get(order.peer)
        if wire is not None:
            self._twin(wire).unwanted.add(order.piece)
            self._tell(wire, SpanWithdrawn(wire.peer_key, self._spans[order.piece]))

    def _tell_have(self, host: Host, order: TellHave) -> None:
        wires, pieces, waiting = host.wires, order.pieces, order.waiting
        for key in order.peers:
            wire = wires.get(key)
            if wire is not None:
                host.tally.haves += 1
                self._tell(wire, PeerHas(wire.peer_key, pieces, waiting))

    def _suggest(self, host: Host, order: SuggestPieces) -> None:
        wire = host.wires.get(order.peer)
        if wire is not None:
            self._tell(wire, PiecesSuggested(wire.peer_key, order.pieces))

    def _send_span(self, host: Host, order: SendSpan) -> None:
        wire = host.wires.get(order.peer)
        if wire is None:
            return
        if self._ground is None:
            self.links.send(wire, order.span.piece, order.span.length)
        else:
            wire.due = order.span
            self._send_due(self._ground.shares[host.number].ask_slot(self.swarm, wire, order.span.length))

    def _send_due(self, wires: Sequence[Wire]) -> None:
        """Those have a slot now: each of them sends what it waited with. They may be of other blobs."""
        for wire in wires:
            assert wire.due is not None, "who asked for a slot has something to send"
            self.links.send(wire, wire.due.piece, wire.due.length)

    def _end_slot(self, wire: Wire) -> None:
        if self._ground is not None:
            wire.due = None
            self._send_due(self._ground.shares[wire.sender.number].end_slot(wire))

    def _reject(self, host: Host, order: RejectSpan) -> None:
        wire = host.wires.get(order.peer)
        if wire is not None:
            self._tell(wire, RequestRejected(wire.peer_key, order.span.piece))

    def _close_peer(self, host: Host, order: ClosePeer) -> None:
        wire = host.wires.get(order.peer)
        if wire is not None:
            self._part(wire)

    def _ban_peer(self, host: Host, order: BanPeer) -> None:
        wire = host.wires.get(order.peer)
        if wire is not None:
            host.banned.add(wire.receiver.number)
            self._part(wire)

    def _ask_tracker(self, host: Host, _: AskTracker) -> None:
        self._schedule(host, announces.PeersNeeded(self.swarm))

    # Pieces, as links tell of them (`Traveller`).

    def piece_sent(self, wire: Wire) -> None:
        if wire.behind:
            for event in wire.behind:
                self.clock.at(self.clock.now + self.links.latency(), self._deliver, wire, event)
            wire.behind.clear()
        wire.sender.tally.sent += self.pieces.size(wire.piece)
        self._end_slot(wire)
        self.feed(wire.sender, SpanSent(wire.key))

    def piece_received(self, wire: Wire, piece: PieceIndex) -> None:
        host = wire.receiver
        size = self.pieces.size(piece)
        if not wire.open or host.dead:
            wire.sender.tally.lost += size
            return
        host.tally.received += size
        if piece in wire.unwanted or host.engine.held >> piece & 1:
            host.tally.duplicate += size
        if piece in wire.unwanted:
            wire.unwanted.discard(piece)
        elif wire.sender.lies:
            self.feed(host, PieceCorrupt(wire.peer_key, piece))
        else:
            self._verified(host, wire, piece)

    def _verified(self, host: Host, wire: Wire, piece: PieceIndex) -> None:
        self._copies[piece] += not host.engine.held >> piece & 1
        self.feed(host, PieceVerified(wire.peer_key, piece))
        for reader in host.readers:
            if piece == reader.at:
                self._read_on(host, reader)
        if host.finished_at is None and host.engine.complete:
            host.finished_at = self.clock.now
            if self.scenario.degree is None:
                self._schedule(host, announces.SwarmCompleted(self.swarm))
            if self._ground is not None:
                self._ground.shares[host.number].has(self.swarm)
                self._ground.finished(host)
            elif not host.lies:
                self._one_less()

    def _begin_reading(self, host: Host) -> None:
        count = self.pieces.count
        parts = min(self.scenario.ranges, count)
        for part in range(parts):
            reader = Reader(part + 1, count * part // parts, count * (part + 1) // parts, host.began_at)
            host.readers.append(reader)
            self.feed(host, ReaderMoved(reader.number, reader.at, reader.stop, part=parts > 1))

    def _read_on(self, host: Host, reader: Reader) -> None:
        """Readers at line rate, together, take what has become contiguous, as fast as they can."""
        before, parts = reader.at, len(host.readers)
        reader.at = min(before + first_gap(host.engine.held >> before), reader.stop)
        read = min(reader.at * self.pieces.piece_length, self.pieces.length) - before * self.pieces.piece_length
        reader.read_at = max(reader.read_at, self.clock.now) + read * host.link.seconds_per_byte * parts
        if reader.at < reader.stop:
            self.feed(host, ReaderMoved(reader.number, reader.at, reader.stop, part=parts > 1))
        elif parts > 1:
            self.feed(host, ReaderLeft(reader.number))

    def _one_less(self) -> None:
        self._unfinished -= 1
        if not self._unfinished:
            self.clock.stop()

    # Connections.

    def _dial(self, host: Host, order: Dial) -> None:
        other = self._by_address[order.candidate.address]
        wait = self.scenario.network.dial / 2 if not other.dead else self.scenario.faults.notice
        self.clock.at(self.clock.now + wait, self._called, host, other)

    def _called(self, host: Host, other: Host) -> None:
        """The other side takes the call, or refuses it; the caller knows half of the dial time later."""
        twice = other.number in host.connected or host.number in other.connected
        banned = other.number in host.banned or host.number in other.banned
        full = len(other.wires) + other.greeting >= self.scenario.swarm.accept
        at = self.clock.now + self.scenario.network.dial / 2
        if host.dead:
            return
        if other.dead or not other.begun or twice or banned or full or host is other:
            self.clock.at(at, self._refused, host, other)
            return
        host.greeting += 1
        other.greeting += 1
        self.clock.at(at, self._greet, host, other)

    def _refused(self, host: Host, other: Host) -> None:
        self.feed(host, DialFailed(other.candidate.address))

    def _greet(self, host: Host, other: Host) -> None:
        """A connection stands: both sides hear who the other is, and what it holds. `host` dialled."""
        host.greeting -= 1
        other.greeting -= 1
        if host.dead or other.dead or other.number in host.connected:
            self._refused(host, other)
            return
        ours, theirs = PeerKey(next(self._keys)), PeerKey(next(self._keys))
        for one, two, mine, its in ((host, other, ours, theirs), (other, host, theirs, ours)):
            one.wires[mine] = one.connected[two.number] = Wire(one, two, mine, its)
            one.most_connected = max(one.most_connected, len(one.wires))
        dialled = None if self.scenario.degree is not None else other.candidate.address
        for one, two, mine, address in ((host, other, ours, dialled), (other, host, theirs, None)):
            role = two.candidate.role
            self.feed(one, PeerJoined(mine, two.engine.me, role, kraken=True, dialled=address, zone=two.zone))
        held = host.engine.held, other.engine.held
        self.feed(host, PeerHas(ours, held[1]))
        self.feed(other, PeerHas(theirs, held[0]))
        if self._ground is not None:
            self._ground.shares[host.number].appetite_changed()
            self._ground.shares[other.number].appetite_changed()

    def _part(self, wire: Wire) -> None:
        """The sender of `wire` ends the connection; the other side hears of it a latency later."""
        back = self._twin(wire)
        for each in (wire, back):
            each.open = False
            self.links.cut(each)
            self._end_slot(each)
            del each.sender.wires[each.key]
            del each.sender.connected[each.receiver.number]
        self.clock.at(self.clock.now, self._left, wire)
        self.clock.at(self.clock.now + self.links.latency(), self._left, back)

    def _left(self, wire: Wire, _: Any) -> None:
        self.feed(wire.sender, PeerLeft(wire.key))

    @staticmethod
    def _twin(wire: Wire) -> Wire:
        """The other direction of a connection."""
        return wire.receiver.wires[wire.peer_key]

    # Announces.

    def _schedule(self, host: Host, event: announces.Event) -> None:
        if host.dead:
            return
        for order in host.schedule.handle(event, self.clock.now):
            self.desk.announce(host, order)
        deadline = host.schedule.next_deadline()
        if deadline is not None and deadline < host.schedule_timer:
            host.schedule_timer = deadline
            self.clock.at(deadline, self._schedule_tick, host)

    def _schedule_tick(self, host: Host, _: Any) -> None:
        if host.schedule_timer == self.clock.now:
            host.schedule_timer = NEVER
            self._schedule(host, announces.Tick())

    def _answered(self, host: Host, reply: AnnounceReply) -> None:
        self._schedule(host, announces.Answered((self.swarm,), reply.interval))
        for named in reply.swarms:
            candidates = tuple(self._by_name[peer.host].candidate for peer in named.peers)
            if candidates:
                self.feed(host, PeersOffered(candidates, named.crowd))
