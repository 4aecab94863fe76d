"""A simulated host, and its connections."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from kraken.core.pieces import PieceIndex
from kraken.p2p.announces import AnnounceSchedule
from kraken.p2p.dialing import Candidate
from kraken.p2p.events import Event
from kraken.p2p.ledger import PeerKey
from kraken.p2p.swarm import Swarm
from kraken.p2p.upload_slots import BlockSpan
from kraken.tracker.messages import PeerEntry

NEVER = float("inf")


class Traveller(Protocol):
    """Whose pieces travel: told when one has left its sender, when one is in, and what else happens at a host."""

    def feed(self, host: Host, event: Event) -> None: ...

    def piece_sent(self, wire: Wire) -> None: ...

    def piece_received(self, wire: Wire, piece: PieceIndex) -> None: ...


@dataclass(slots=True, eq=False)
class Wire:
    """One direction of a connection."""

    sender: Host
    receiver: Host
    key: PeerKey  # how the sender knows the receiver
    peer_key: PeerKey  # how the receiver knows the sender
    open: bool = True
    piece: PieceIndex = PieceIndex(0)
    left: int = 0  # bytes of that piece which the link has not sent
    returns: deque[float] = field(default_factory=deque)  # when the quanta under way will have been acknowledged
    last_arrival: float = 0.0
    heard_at: float = 0.0  # when payload last reached the receiver
    unwanted: set[PieceIndex] = field(default_factory=set)  # what the receiver no longer wants of this sender
    due: BlockSpan | None = None  # what it sends, or waits for a slot to send, where blobs share slots
    behind: list[Event] = field(default_factory=list)  # messages that wait until the piece is out


@dataclass(slots=True, eq=False)
class Link:
    """A host's access to the network: what it sends goes by turns, what it receives first come first served."""

    seconds_per_byte: float
    active: deque[Wire] = field(default_factory=deque)  # connections with something to send, the next one first
    sending: bool = False
    wake_at: float = NEVER  # when the first window opens, while all are closed
    down_free: float = 0.0  # when all that is on its way in will be in


@dataclass(slots=True, eq=False)
class Reader:
    """A client that takes pieces in order, up to before `stop`."""

    number: int
    at: int  # the piece that it waits for
    stop: int
    read_at: float  # when it has read up to there


@dataclass(slots=True, eq=False)
class Tally:
    """What a host sent and received."""

    sent: int = 0  # bytes of pieces, as all here
    crossed: int = 0  # of what was sent, what has come to another zone
    lost: int = 0  # of what was sent, what came when the connection had ended
    received: int = 0
    duplicate: int = 0
    haves: int = 0  # messages sent, as the rest
    requests: int = 0
    announces: int = 0


@dataclass(slots=True, eq=False)
class Host:
    """An agent or an origin: its engines, its link, and what became of it."""

    number: int
    engine: Swarm
    rng: random.Random
    schedule: AnnounceSchedule
    candidate: Candidate
    entry: PeerEntry
    origin: bool
    link: Link
    zone: str  # empty when there is only one
    world: Traveller
    begun: bool = False
    began_at: float = 0.0
    finished_at: float | None = None
    dead: bool = False
    lies: bool = False
    slow: bool = False
    timer: float = NEVER
    told_at: float = 0.0  # when the engine last heard who sends payload
    schedule_timer: float = NEVER
    wires: dict[PeerKey, Wire] = field(default_factory=dict)  # outgoing, by our own key
    connected: dict[int, Wire] = field(default_factory=dict)  # the same, by the number of the other host
    greeting: int = 0  # connections that will stand in a moment
    most_connected: int = 0
    banned: set[int] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)
    readers: list[Reader] = field(default_factory=list)
