"""The peers of one swarm, in an order that is random at every moment.

Who joins takes a random place, and who had it moves to the end; when one leaves, the last takes its place. So a
hand-out needs neither search nor draw: peers at equal distances, from a random place on, are a random sample. A peer is
known by what others are told of it, which is kept encoded, because a crowd hears of the same ones over and over. What
an announce touches stands in columns, apart from the rest: in a crowd none of it is in the processor's cache. The peers
of each zone that has a name are listed once more, in such an order of their own. Who has just joined is introduced to
some who joined together with it as well.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from math import floor

import msgspec

from kraken.core.peers import Role
from kraken.tracker.arrivals import Arrivals

_TOGETHER = 0.4
"""The part of its introductions, for who has just joined, that are to peers who joined when it did."""


class Listed(msgspec.Struct, frozen=True, gc=False):
    """What a peer said when it joined. `number` is unique in the table."""

    number: int
    since: float
    role: Role
    zone: str


class Deck:
    """Peers in an order that is random at every moment: `peers`, and in `places` where each of them is. To be read."""

    __slots__ = ("_arrivals", "_rng", "peers", "places")

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._arrivals = Arrivals(rng)
        self.peers: list[bytes] = []
        self.places: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self.peers)

    def __contains__(self, peer: bytes) -> bool:
        return peer in self.places

    def deal(self, count: int, asking: bytes, *, joins: bool = False) -> list[bytes]:
        """At most `count` peers, never the one that asks: random ones, in random order.

        Args: joins, whether it has just joined; then some who joined together with it come first.
        """
        peers, random = self.peers, self._rng.random
        total = len(peers)
        if not total:
            return []
        drawn = count + 1 if count < total else total  # one more, for who asks may be among them
        step = 1 + floor(random() * (total // drawn))
        first = floor(random() * total)
        end = first + drawn * step  # at most once around, so that nobody is met twice
        dealt = peers[first:end:step]
        if end > total:
            dealt += peers[(first - total) % step : end - total : step]
        own = self.places.get(asking)
        if own is not None:
            distance = (own - first) % total
            if not distance % step and distance < end - first:
                del dealt[distance // step]
        del dealt[count:]
        if joins and len(dealt) == count:  # else everybody is among them
            together = self._arrivals.together(floor(count * _TOGETHER), asking)
            dealt = [*together, *(peer for peer in dealt if peer not in together)][:count]
        return dealt


class ZonePeers(Deck):
    """The peers of one zone."""

    __slots__ = ()

    def add(self, peer: bytes) -> None:
        """Add one that is not here."""
        place, end = floor(self._rng.random() * (len(self.peers) + 1)), len(self.peers)
        self.peers.append(peer)
        self._put(self.peers[place], end)
        self._put(peer, place)
        self._arrivals.add(peer)

    def remove(self, peer: bytes) -> None:
        """Take away one that is here."""
        self._put(self.peers[-1], self.places[peer])
        del self.places[peer], self.peers[-1]
        self._arrivals.remove(peer)

    def _put(self, peer: bytes, place: int) -> None:
        self.peers[place] = peer
        self.places[peer] = place


class Roster(Deck):
    """The peers of one swarm, each an encoded `PeerEntry`. `digest` is of what, as the first said; a peer may lie.

    Until `young_until` who announces itself waits for others; the table sets it. `crowd` is how many do not have the
    whole blob, to be read.
    """

    __slots__ = ("_complete", "_expires", "_listed", "_zones", "born", "crowd", "digest", "swarm", "young_until")

    def __init__(self, swarm: bytes, digest: str, born: float, rng: random.Random) -> None:
        super().__init__(rng)
        self.swarm = swarm
        self.digest = digest
        self.born = self.young_until = born
        self.crowd = 0
        self._listed: list[Listed] = []
        self._expires = array("d")
        self._complete = bytearray()
        self._zones: dict[str, ZonePeers] = {}

    @property
    def complete_count(self) -> int:
        """How many have the whole blob."""
        return len(self.peers) - self.crowd

    def heard(self, peer: bytes, expires: float, complete: bool) -> bool:
        """Note that a peer is still there. Returns: False, when it is not on the list."""
        place = self.places.get(peer)
        if place is None:
            return False
        self._expires[place] = expires
        if self._complete[place] != complete:
            self._complete[place] = complete
            self.crowd += -1 if complete else 1
        return True

    def add(self, peer: bytes, listed: Listed, expires: float, complete: bool) -> None:
        """List a peer that is not listed."""
        end = len(self.peers)
        self.peers.append(peer)
        self._listed.append(listed)
        self._expires.append(expires)
        self._complete.append(complete)
        place = floor(self._rng.random() * (end + 1))
        self._copy(place, end)
        self.peers[place], self._listed[place] = peer, listed
        self._expires[place], self._complete[place] = expires, complete
        self.places[peer] = place
        self._arrivals.add(peer)
        self.crowd += not complete
        if listed.zone:
            self._zones.setdefault(listed.zone, ZonePeers(self._rng)).add(peer)

    def remove(self, peer: bytes) -> None:
        """Take a listed peer off the list."""
        place = self.places[peer]
        zone = self._listed[place].zone
        self.crowd -= not self._complete[place]
        if zone:
            self._zones[zone].remove(peer)
            if not self._zones[zone].peers:
                del self._zones[zone]
        self._copy(len(self.peers) - 1, place)
        del self.places[peer], self.peers[-1], self._listed[-1], self._expires[-1], self._complete[-1]
        self._arrivals.remove(peer)

    def expires(self, peer: bytes, number: int) -> float | None:
        """When a peer will have been silent for too long; None when it is no longer the one of that number."""
        place = self.places.get(peer)
        return None if place is None or self._listed[place].number != number else self._expires[place]

    def deal_near(self, count: int, asking: bytes, zone: str, crossing: int, *, joins: bool = False) -> list[bytes]:
        """The same for one in a zone: at most `crossing` are of elsewhere, as long as there are enough others."""
        dealt = self.deal(count, asking, joins=joins)
        near = self._zones.get(zone)
        if near is None or len(near.peers) == len(self.peers):
            return dealt
        far = [peer for peer in dealt if peer not in near.places]
        if len(far) > crossing:
            dealt = near.deal(count - crossing, asking, joins=joins)
            far = self._rng.sample(far, min(count - len(dealt), len(far)))
            place = floor(self._rng.random() * (len(dealt) + 1))
            dealt[place:place] = far
        return dealt

    def __iter__(self) -> Iterator[tuple[bytes, Listed, float, bool]]:
        """Each peer, what it said when it joined, when it expires, and whether it has the whole blob."""
        return zip(self.peers, self._listed, self._expires, map(bool, self._complete), strict=True)

    def _copy(self, place: int, to: int) -> None:
        """Let another place have what is at this one."""
        self.peers[to] = peer = self.peers[place]
        self._listed[to] = self._listed[place]
        self._expires[to] = self._expires[place]
        self._complete[to] = self._complete[place]
        self.places[peer] = to
