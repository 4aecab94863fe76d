"""The peers of a swarm in the order in which they joined.

Whoever joins a growing crowd finds peers that are ahead of it, and has nothing for them: only those who come with it,
or after it, want what it has. So some of its first neighbours should be those who came when it did. See decision 17.
"""

from __future__ import annotations

import random
from math import floor

_PART = 16
_LEAST_REACH = 30
"""Who joined together: a sixteenth of the swarm before a peer, and as many after it; in a small swarm thirty."""


class Arrivals:
    """Peers in order of joining. A peer is known by what others are told of it."""

    __slots__ = ("_gone", "_peers", "_ranks", "_rng")

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._peers: list[bytes] = []  # empty where one has left
        self._ranks: dict[bytes, int] = {}
        self._gone = 0

    def add(self, peer: bytes) -> None:
        """One joins that is not here."""
        self._ranks[peer] = len(self._peers)
        self._peers.append(peer)

    def remove(self, peer: bytes) -> None:
        """One leaves that is here."""
        self._peers[self._ranks.pop(peer)] = b""
        self._gone += 1
        if self._gone > len(self._ranks):
            self._peers = list(self._ranks)  # a dictionary keeps the order of insertion
            self._ranks = {each: rank for rank, each in enumerate(self._peers)}
            self._gone = 0

    def together(self, count: int, peer: bytes) -> list[bytes]:
        """At most `count` others who joined when this one did; nobody, if there are hardly more than that."""
        rank = self._ranks.get(peer)
        if rank is None or not count:
            return []
        reach = max(len(self._peers) // _PART, _LEAST_REACH)
        begin, end = max(rank - reach, 0), min(rank + reach + 1, len(self._peers))
        step = (end - begin) // count
        if not step:
            return []
        first = begin + floor(self._rng.random() * step)
        return [each for each in self._peers[first:end:step][:count] if each and each != peer]
