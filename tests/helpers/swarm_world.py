"""A few swarm engines in one thread under a virtual clock: messages take a while, uplinks are serial."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from kraken.core.peers import PeerId, Role
from kraken.core.pieces import PieceIndex, Pieces
from kraken.p2p.bitfield import everything
from kraken.p2p.events import (
    Action,
    AskPiece,
    BanPeer,
    ClosePeer,
    DemandChanged,
    Event,
    PeerHas,
    PeerJoined,
    PeerLeft,
    PieceCorrupt,
    PiecesSuggested,
    PieceVerified,
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

LATENCY = 0.0005
PIECE_SECONDS = 0.001


@dataclass(slots=True)
class Host:
    """One node: its engine, and the keys under which it knows the others."""

    name: int
    role: Role
    engine: Swarm
    keys: dict[int, PeerKey] = field(default_factory=dict)
    uplink_free: float = 0.0
    piece_seconds: float = PIECE_SECONDS
    lies: bool = False
    dead: bool = False
    finished_at: float | None = None
    uploads: int = 0


class World:
    """Hosts that are all connected to each other. `run` goes on until nothing happens any more."""

    def __init__(
        self, agents: int, origins: int, pieces: int, seed: int, settings: SwarmSettings | None = None
    ) -> None:
        self.now = 0.0
        self.rng = random.Random(seed)
        self.asked: Counter[tuple[int, PieceIndex]] = Counter()
        self.banned: set[int] = set()
        self.most_outstanding = 0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = count()
        self._numbers = count(1)
        self._ticks: dict[int, float] = {}
        cut = Pieces(pieces * 256 * 1024, 256 * 1024)
        self.hosts: list[Host] = []
        for name in range(agents + origins):
            role = Role.AGENT if name < agents else Role.ORIGIN
            held = 0 if role is Role.AGENT else everything(pieces)
            lot = None if role is Role.AGENT else Lot(name - agents, origins)
            me = PeerId(name.to_bytes(20))
            rng = random.Random(f"{seed}/{name}")
            self.hosts.append(Host(name, role, Swarm(me, cut, settings or SwarmSettings(), rng, held, lot=lot)))
        for host in self.hosts:
            for other in self.hosts:
                if other is not host:
                    self.connect(host, other)

    @property
    def agents(self) -> list[Host]:
        return [host for host in self.hosts if host.role is Role.AGENT]

    @property
    def origin_copies(self) -> float:
        """How many times the origins together uploaded the blob."""
        return sum(host.uploads for host in self.hosts if host.role is Role.ORIGIN) / self.hosts[0].engine.pieces.count

    def connect(self, host: Host, other: Host) -> None:
        """`host` comes to know `other`, and what it holds."""
        key = host.keys[other.name] = PeerKey(next(self._numbers))
        self.feed(host, PeerJoined(key, other.engine.me, other.role, True, None))
        if other.engine.held:
            self.feed(host, PeerHas(key, other.engine.held))

    def start(self) -> None:
        """Every agent wants the blob."""
        for host in self.agents:
            self.feed(host, DemandChanged(wanted=True))

    def kill(self, host: Host) -> None:
        """The host is gone, and its peers notice."""
        host.dead = True
        for other in self.hosts:
            if host.name in other.keys:
                self.feed(other, PeerLeft(other.keys.pop(host.name)))

    def later(self, delay: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + delay, next(self._sequence), what))

    def run(self, until: float = 1000.0) -> None:
        """Let time pass until nothing is left to happen, or `until`."""
        while self._queue and self._queue[0][0] <= until:
            self.now, _, what = heapq.heappop(self._queue)
            what()

    def feed(self, host: Host, event: Event) -> None:
        if host.dead:
            return
        for action in host.engine.handle(event, self.now):
            self._perform(host, action)
        if host.finished_at is None and host.engine.complete and host.role is Role.AGENT:
            host.finished_at = self.now
        deadline = host.engine.next_deadline()
        if deadline is not None and self._ticks.get(host.name) != deadline:
            self._ticks[host.name] = deadline
            self.later(max(0.0, deadline - self.now), lambda: self.feed(host, Tick()))

    def _perform(self, host: Host, action: Action) -> None:
        match action:
            case AskPiece(peer, piece):
                assert not host.engine.held >> piece & 1, "a held piece is asked for"
                self.asked[host.name, piece] += 1
                span = BlockSpan(piece, 0, host.engine.pieces.size(piece))
                self._send(host, peer, lambda key: SpanRequested(key, span))
            case WithdrawAsk(peer, piece):
                span = BlockSpan(piece, 0, host.engine.pieces.size(piece))
                self._send(host, peer, lambda key: SpanWithdrawn(key, span))
            case TellHave(peers, pieces, waiting):
                for peer in peers:
                    self._send(host, peer, lambda key: PeerHas(key, pieces, waiting))
            case SuggestPieces(peer, pieces):
                self._send(host, peer, lambda key: PiecesSuggested(key, pieces))
            case RejectSpan(peer, span):
                self._send(host, peer, lambda key: RequestRejected(key, span.piece))
            case SendSpan(peer, span):
                self._upload(host, peer, span)
            case BanPeer(peer, _):
                self.banned.add(self._named(host, peer))
                self._part(host, peer)
            case ClosePeer(peer, _):
                self._part(host, peer)
            case _:
                pass

    def _upload(self, host: Host, peer: PeerKey, span: BlockSpan) -> None:
        host.uploads += 1
        host.uplink_free = max(host.uplink_free, self.now) + host.piece_seconds
        sent_in = host.uplink_free - self.now
        self.later(sent_in, lambda: self.feed(host, SpanSent(peer)))
        bad = host.lies

        def arrived(key: PeerKey) -> Event:
            return PieceCorrupt(key, span.piece) if bad else PieceVerified(key, span.piece)

        self._send(host, peer, arrived, sent_in)

    def _send(self, host: Host, peer: PeerKey, event: Callable[[PeerKey], Event], delay: float = 0.0) -> None:
        other = self.hosts[self._named(host, peer)]

        def deliver() -> None:
            if host.name in other.keys:
                self.feed(other, event(other.keys[host.name]))

        self.later(delay + LATENCY * self.rng.uniform(1.0, 1.5), deliver)

    def _part(self, host: Host, peer: PeerKey) -> None:
        other = self.hosts[self._named(host, peer)]
        for one, two in ((host, other), (other, host)):
            key = one.keys.pop(two.name, None)
            if key is not None:
                self.later(0.0, lambda one=one, key=key: self.feed(one, PeerLeft(key)))  # type: ignore[misc]

    def _named(self, host: Host, peer: PeerKey) -> int:
        return next((name for name, key in host.keys.items() if key == peer), host.name)
