"""The peers that a swarm is connected with, and what is known of all of them together.

A neighbour is near, far or an origin. An agent is far when both sides tell their zone and the two differ; an origin is
near when they are the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kraken.core.peers import Address, PeerId, Role
from kraken.core.pieces import PieceIndex
from kraken.p2p.bitfield import every_nth
from kraken.p2p.ledger import PeerKey

NEAR_AGENT, FAR_AGENT, NEAR_ORIGIN, ORIGIN = range(4)
"""The kinds of neighbours. What differs between them is given as a sequence, in this order."""

SLOW = 4.0
"""An agent that takes this many times as long as the quickest neighbour does not keep us from the origins; and an
origin that takes this many times as long as most pieces is one that all wait for."""


@dataclass(slots=True)
class Neighbour:
    """What is known of one connected peer."""

    peer_id: PeerId
    role: Role
    kraken: bool
    dialled: Address | None
    choking: bool
    heard_at: float
    kind: int
    pieces: int = 0
    suggested: int = 0  # what an origin wants us to fetch from it
    untold: int = 0  # what came in that we have not told it
    waiting: int = 0
    late: bool = False
    pace: float | None = None  # seconds from request to piece, smoothed
    rest_until: float = 0.0  # nothing is asked of it before; forever once its end is ordered
    refusals: dict[PieceIndex, int] = field(default_factory=dict)


class Neighbourhood:
    """All of them. Whoever changes `peers` or a neighbour's lateness does it by the methods here."""

    def __init__(self, me: PeerId, zone: str, pieces: int) -> None:
        """Args: zone, the part of the network that we are in, empty when unknown; pieces, how many the blob has."""
        self.me = me
        self.zone = zone
        self.peers: dict[PeerKey, Neighbour] = {}
        self.origins: set[PeerKey] = set()
        self.far: set[PeerKey] = set()
        """The agents of other zones."""
        self.slow: set[PeerKey] = set()
        """The agents that are late, or far slower than most pieces come."""
        self._count = pieces
        self._waiting = 0  # requests that wait at all of them together, as far as they said
        self._share: int | None = None

    @property
    def agents(self) -> int:
        """How many of them are agents."""
        return len(self.peers) - len(self.origins)

    @property
    def queue(self) -> int:
        """How many requests wait at one that is an agent, on average."""
        return self._waiting // max(self.agents, 1)

    # They come, tell, and go.

    def kind_of(self, role: Role, zone: str) -> int:
        """What a peer of this role and zone is to us."""
        known = bool(self.zone and zone)
        if role is Role.ORIGIN:
            return NEAR_ORIGIN if known and zone == self.zone else ORIGIN
        return FAR_AGENT if known and zone != self.zone else NEAR_AGENT

    def joined(self, peer: PeerKey, neighbour: Neighbour) -> None:
        """A peer is connected."""
        self.peers[peer] = neighbour
        if neighbour.role is Role.ORIGIN:
            self.origins.add(peer)
        elif neighbour.kind == FAR_AGENT:
            self.far.add(peer)
        self._share = None

    def left(self, peer: PeerKey) -> Neighbour | None:
        """A connection is gone. Returns: what was known of it; None when it was none of ours."""
        neighbour = self.peers.pop(peer, None)
        if neighbour is None:
            return None
        for kind in (self.origins, self.far, self.slow):
            kind.discard(peer)
        self._waiting -= neighbour.waiting
        self._share = None
        return neighbour

    def has_waiting(self, neighbour: Neighbour, requests: int) -> None:
        """One of them tells how many requests wait at it."""
        self._waiting += requests - neighbour.waiting
        neighbour.waiting = requests

    def is_late(self, peer: PeerKey) -> Neighbour:
        """A request was not answered in time. Returns: what is known of the peer."""
        neighbour = self.peers[peer]
        neighbour.late = True
        if neighbour.role is Role.AGENT:
            self.slow.add(peer)
        return neighbour

    def delivered(self, peer: PeerKey, took: float, usual: float, now: float) -> None:
        """A piece came that was asked for. Args: took, seconds since then; usual, those that most pieces take."""
        neighbour = self.peers.get(peer)
        if neighbour is None:
            return
        neighbour.heard_at, neighbour.late = now, False
        neighbour.pace = took if neighbour.pace is None else 0.75 * neighbour.pace + 0.25 * took
        if neighbour.role is Role.AGENT and neighbour.pace > SLOW * usual:
            self.slow.add(peer)
        else:
            self.slow.discard(peer)

    # What all of them together have, and what falls to us.

    def held_by_agents(self, farthest: int = FAR_AGENT) -> int:
        """The pieces that agents, up to a kind of them, can be asked for, and others therefore are not.

        So all origins together upload little more than one copy, whatever the number of agents, and each zone gets
        little more than one copy of all. An agent that is late, or far slower than the best, does not count: nobody
        has to wait for it.
        """
        agents = [each for each in self.peers.values() if each.kind <= farthest and not each.late and not each.choking]
        quickest = min((each.pace for each in self.peers.values() if each.pace is not None), default=None)
        held = 0
        for each in agents:
            if quickest is None or each.pace is None or each.pace <= SLOW * quickest:
                held |= each.pieces
        return held

    def our_share(self) -> int:
        """The pieces that fall to us, of us and the agents around us, to be fetched from origins first.

        Neighbours that see each other sort the same peer ids and so take different pieces. Without this they
        pick the same fresh pieces again and again, for news of a piece travels behind the pieces before it:
        eight agents that saturate their host took 2.5 copies from the origins.
        """
        if self._share is None:
            fetching = [each.peer_id for each in self.peers.values() if each.role is Role.AGENT]
            ours = sum(other < self.me for other in fetching)
            self._share = every_nth(self._count, ours, len(fetching) + 1)
        return self._share

    def suggested(self) -> int:
        """The pieces that origins want us to fetch from them."""
        suggested = 0
        for origin in self.origins:
            suggested |= self.peers[origin].suggested
        return suggested

    def waits_for_origins(self, usual: float | None) -> bool:
        """Whether origins are so busy, with other blobs it may be, that what they send should leave them once.

        Args: usual, the seconds that most pieces take; None before any came.
        """
        paces = [self.peers[origin].pace for origin in self.origins]
        return usual is not None and any(pace is not None and pace > SLOW * usual for pace in paces)
