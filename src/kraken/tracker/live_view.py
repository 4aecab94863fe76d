"""What a tracker knows of its swarms at this moment, as data for people and consoles. Read only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from heapq import nlargest
from itertools import islice

import msgspec

from kraken.tracker.messages import PeerEntry, decode_peer
from kraken.tracker.roster import Roster

MAX_LISTED = 1000
"""Swarms or peers that one view names; the sums are always of all of them."""

_ZONES_SHOWN = 100


class SwarmLine(msgspec.Struct, frozen=True):
    """One swarm among all. `digest` is what its first peer said."""

    swarm: str
    digest: str
    age_seconds: float
    peers: int
    complete: int


class SwarmsView(msgspec.Struct, frozen=True):
    """All swarms: how many there are, and the largest of them."""

    swarm_count: int
    peer_count: int
    swarms: list[SwarmLine]


class PeerView(msgspec.Struct, frozen=True):
    """A peer of a swarm, and how long it is there, and may be silent still before it is forgotten."""

    peer_id: str
    host: str
    port: int
    role: str
    zone: str
    complete: bool
    age_seconds: float
    expires_in_seconds: float


class OriginView(msgspec.Struct, frozen=True):
    """An origin that owns the blob and can be reached."""

    peer_id: str
    host: str
    port: int


class SwarmView(msgspec.Struct, frozen=True):
    """One swarm. `peers` are random ones where not all are listed; `zones` are the most frequent."""

    swarm: str
    digest: str
    age_seconds: float
    complete: int
    incomplete: int
    roles: dict[str, int]
    zones: dict[str, int]
    origins: list[OriginView]
    peers: list[PeerView]


def swarms_view(rosters: Iterable[Roster], swarm_count: int, peer_count: int, limit: int, now: float) -> SwarmsView:
    """The view of all swarms. Args: limit, how many of them are named."""
    lines = [
        SwarmLine(each.swarm.hex(), each.digest, now - each.born, len(each), each.complete_count)
        for each in nlargest(limit, rosters, key=len)
    ]
    return SwarmsView(swarm_count, peer_count, lines)


def swarm_view(roster: Roster, origins: Sequence[bytes], limit: int, now: float) -> SwarmView:
    """The view of one swarm. Args: origins, encoded, see `SwarmView`; limit, how many peers are named."""
    listed = [said for _peer, said, _expires, _complete in roster]
    return SwarmView(
        swarm=roster.swarm.hex(),
        digest=roster.digest,
        age_seconds=now - roster.born,
        complete=roster.complete_count,
        incomplete=len(roster) - roster.complete_count,
        roles=dict(Counter(said.role.value for said in listed)),
        zones=dict(Counter(said.zone for said in listed).most_common(_ZONES_SHOWN)),
        origins=[OriginView(it.peer_id.hex(), it.host, it.port) for it in map(decode_peer, origins)],
        peers=[
            _peer_view(decode_peer(peer), said.zone, complete, now - said.since, expires - now)
            for peer, said, expires, complete in islice(roster, limit)
        ],
    )


def _peer_view(entry: PeerEntry, zone: str, complete: bool, age: float, left: float) -> PeerView:
    return PeerView(entry.peer_id.hex(), entry.host, entry.port, entry.role, zone, complete, age, left)
