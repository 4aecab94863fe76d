"""Which connection goes when a host has as many as it may, and a swarm that has few needs one.

A host that holds a thousand blobs has a thousand swarms, whose idle connections would shut the door to the one blob
that a client waits for. So a newcomer may take the place of a connection that matters less. Two questions, asked only
when there is no place left: which swarms may lose one, and which of a swarm's connections is missed least. Invariants:

- nobody is closed while a piece is under way on it, in either direction;
- a swarm that fetches loses nothing to one that does not;
- of two swarms of a kind only the one that has more connections loses one, and has no fewer than the other after that:
  it never goes back and forth.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kraken.core.metainfo import SwarmId
from kraken.p2p.ledger import PeerKey


@dataclass(frozen=True, slots=True)
class Crew:
    """The connections of one swarm: how many they are, and whether somebody here waits for its blob."""

    swarm: SwarmId
    fetching: bool
    connections: int


@dataclass(frozen=True, slots=True)
class Link:
    """One connection: whether a piece is under way on it, and when (monotonic seconds) a piece last moved."""

    peer: PeerKey
    busy: bool
    moved_at: float


def givers(newcomer: Crew, others: Iterable[Crew]) -> list[SwarmId]:
    """The swarms that may lose a connection to the newcomer's, the first one first.

    Args: newcomer, as it is without the new connection; others, all other swarms of the host.
    """
    may = [each for each in others if each.connections > 0 and _may_lose_to(each, newcomer)]
    may.sort(key=lambda each: (each.fetching, -each.connections))
    return [each.swarm for each in may]


def least_missed(links: Iterable[Link]) -> PeerKey | None:
    """Of one swarm's connections the one that has been idle for longest; None when all are busy."""
    idle = [each for each in links if not each.busy]
    return min(idle, key=lambda each: each.moved_at).peer if idle else None


def _may_lose_to(crew: Crew, newcomer: Crew) -> bool:
    if newcomer.fetching and not crew.fetching:
        return True
    return crew.fetching == newcomer.fetching and crew.connections > newcomer.connections + 1
