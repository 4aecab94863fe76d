"""What is simulated: a crowd that pulls one blob, its network, and what goes wrong meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field

from kraken.core.errors import Invalid
from kraken.core.pieces import GIB, KIB, Pieces, piece_length_for
from kraken.p2p.settings import PeerSettings, SwarmSettings
from kraken.tracker.settings import AnnounceSettings


@dataclass(frozen=True, slots=True)
class Network:
    """Links and messages. Every host has one full-duplex link, and each zone one pipe to each other zone."""

    link: float = 1e9  # bytes per second, each way
    rtt: float = 0.0005  # seconds, at the least
    jitter: float = 0.5  # a message takes up to this part longer
    window: int = 512 * KIB  # bytes under way on one connection, acknowledgement included
    quantum: int | None = None  # bytes that a link sends of one connection before it turns to the next
    dial: float = 0.0015  # seconds from the order to connect until the handshake is done
    between: float | None = None  # bytes per second from one zone to one other; None: never the limit
    control_waits: bool = False  # whether messages queue behind the piece that their connection is sending

    def quantum_for(self, piece_length: int) -> int:
        """A quarter of a piece, within 64 and 256 KiB, unless it is given."""
        return self.quantum or min(max(piece_length // 4, 64 * KIB), 256 * KIB)


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong. Parts are of the agents, times are seconds."""

    deaths: float = 0.0  # part that loses power within the ideal time of the pull
    notice: float = 1.0  # until the peers of a dead host notice
    stragglers: float = 0.0  # part with a slow link
    slowness: float = 10.0  # how many times slower
    liars: int = 0  # hosts that send nothing but corrupt pieces


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run. All times are seconds, all sizes bytes."""

    hosts: int = 100
    blob: int = GIB
    origins: int = 3
    arrivals: float = 0.2  # agents begin within this time, evenly at random
    late: float = 0.0  # part of the agents that begins only at `late_at`
    late_at: float = 0.5
    zones: int = 1  # hosts are dealt to them in turn, and so are origins
    seed: int = 1
    piece: int | None = None  # the rule of the product when not given
    degree: int | None = None  # an ideal random graph with so many connections a host, instead of the tracker's
    origin_degree: int = 16  # connections of an origin in that graph
    readers: bool = False  # whether each agent has a reader that takes the blob at line rate, in order
    ranges: int = 1  # in so many parts at once, as containerd does
    verify: float = 0.0002  # seconds to store and check a piece
    verify_per_byte: float = 0.25e-9
    tracker_service: float = 0.0  # seconds of work for each announce, one after the other
    horizon: float = 3600.0  # the run is given up then
    network: Network = field(default_factory=Network)
    faults: Faults = field(default_factory=Faults)
    swarm: SwarmSettings = field(default_factory=SwarmSettings)
    peer: PeerSettings = field(default_factory=PeerSettings)  # what a host shares out among the layers of an image
    announce: AnnounceSettings = field(default_factory=AnnounceSettings)

    def __post_init__(self) -> None:
        if self.hosts < 1 or self.origins < 1 or self.blob < 1:
            raise Invalid(f"{self.hosts} hosts, {self.origins} origins and {self.blob} bytes: one of each is the least")
        speeds = (self.network.link, self.network.between if self.network.between is not None else self.network.link)
        if min(speeds) <= 0 or self.network.rtt < 0 or self.arrivals < 0:
            raise Invalid("a link has a speed above 0, and so has a pipe between zones; times are not negative")
        if not 1 <= self.zones <= self.hosts:
            raise Invalid(f"{self.zones} zones for {self.hosts} hosts")
        if self.ranges < 1 or (self.ranges > 1 and not self.readers):
            raise Invalid(f"{self.ranges} ranges at once are of a reader, who reads one at least")
        if self.piece is not None and self.piece < 1:
            raise Invalid(f"pieces of {self.piece} bytes")
        if self.degree is not None and not 0 <= self.degree < self.hosts:
            raise Invalid(f"a graph of {self.hosts} hosts with {self.degree} connections each")
        parts = (self.faults.deaths, self.faults.stragglers, self.late)
        if any(not 0 <= part <= 1 for part in parts) or not 0 <= self.faults.liars <= self.hosts:
            raise Invalid(f"parts {parts} within 0 and 1, and {self.faults.liars} liars among {self.hosts} hosts")

    @property
    def pieces(self) -> Pieces:
        return Pieces(self.blob, self.piece or piece_length_for(self.blob))

    @property
    def ideal(self) -> float:
        """Seconds in which the link carries the blob."""
        return self.blob / self.network.link
