"""Who is in which swarm, and whom to introduce to whom.

An engine: `now` is an argument, chance a constructor argument. Invariants: no more swarms and peers than the
settings allow; a peer is never handed to itself; a peer that missed its intervals is never handed out.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from kraken.core.peers import Role
from kraken.tracker.messages import AnnounceReply, PeerEntry, SwarmAnnounce, SwarmPeers
from kraken.tracker.settings import AnnounceSettings


@dataclass(frozen=True, slots=True)
class AnnounceArrived:
    """A peer announced itself. `ticket` comes back with the answer.

    Each swarm stands beside the origins that own its blob and can be reached.
    """

    ticket: int
    peer: PeerEntry
    swarms: Sequence[tuple[SwarmAnnounce, Sequence[PeerEntry]]]


@dataclass(frozen=True, slots=True)
class Tick:
    """The next deadline has come."""


@dataclass(frozen=True, slots=True)
class SendReply:
    """Answer the announce with this ticket."""

    ticket: int
    reply: AnnounceReply


PeerKey = tuple[str, bytes]
"""Host and peer id. With the id alone, one host could take another's place by announcing its id."""


@dataclass(slots=True)
class _Peer:
    entry: PeerEntry
    expires: float
    place: int  # in the swarm's list, so that removing is a swap with the last one


@dataclass(slots=True)
class _Swarm:
    born: float
    peers: dict[PeerKey, _Peer] = field(default_factory=dict)
    order: list[PeerKey] = field(default_factory=list)


class PeerTable:
    """The swarms of one tracker."""

    def __init__(self, settings: AnnounceSettings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._swarms: dict[bytes, _Swarm] = {}
        self._peer_count = 0
        self._held: list[AnnounceArrived] = []
        self._release: float | None = None
        # Keys in the order of their last announce. Intervals differ by swarm, so one at the front may keep later
        # ones here somewhat beyond their time; they are not handed out meanwhile.
        self._watch: OrderedDict[tuple[bytes, PeerKey], None] = OrderedDict()
        self._sweep: float | None = None

    @property
    def swarm_count(self) -> int:
        return len(self._swarms)

    @property
    def peer_count(self) -> int:
        """Entries in all swarms; a peer in two swarms counts twice."""
        return self._peer_count

    def handle(self, event: AnnounceArrived | Tick, now: float) -> list[SendReply]:
        """Take an event in.

        Returns: the answers that are due; an announce to a young swarm gets its own at a later tick.
        """
        actions: list[SendReply] = []
        if isinstance(event, AnnounceArrived):
            if self._admit(event, now):
                self._held.append(event)
                if self._release is None:
                    self._release = now + self._settings.hold_seconds
            else:
                actions.append(self._answer(event, now))
        if self._release is not None and now >= self._release:
            actions.extend(self._answer(held, now) for held in self._held)
            self._held.clear()
            self._release = None
        if self._sweep is not None and now >= self._sweep:
            self._expire(now)
        return actions

    def next_deadline(self) -> float | None:
        """When a `Tick` is wanted; None while there is nothing to wait for."""
        return min((at for at in (self._release, self._sweep) if at is not None), default=None)

    def _admit(self, event: AnnounceArrived, now: float) -> bool:
        """Note the peer in its swarms. Returns: whether its answer is to be held."""
        held = False
        expires = now + self._interval_of(event) * self._settings.missed_intervals
        for announced, _origins in event.swarms:
            if announced.left:
                self._remove(announced.swarm, _key(event.peer))
                continue
            swarm = self._note(announced.swarm, event.peer, now, expires)
            if swarm is not None and announced.want and now - swarm.born < self._settings.young_seconds:
                held = self._settings.hold_seconds > 0
        return held

    def _note(self, swarm_id: bytes, entry: PeerEntry, now: float, expires: float) -> _Swarm | None:
        swarm = self._swarms.get(swarm_id)
        if swarm is None:
            if len(self._swarms) >= self._settings.max_swarms or self._peer_count >= self._settings.max_peers:
                return None
            swarm = self._swarms[swarm_id] = _Swarm(born=now)
        key = _key(entry)
        peer = swarm.peers.get(key)
        if peer is not None:
            peer.entry, peer.expires = entry, expires
        elif self._peer_count < self._settings.max_peers:
            swarm.peers[key] = _Peer(entry, expires, len(swarm.order))
            swarm.order.append(key)
            self._peer_count += 1
        else:
            return swarm
        self._watch[swarm_id, key] = None
        self._watch.move_to_end((swarm_id, key))
        if self._sweep is None:
            self._sweep = expires
        return swarm

    def _answer(self, event: AnnounceArrived, now: float) -> SendReply:
        swarms = [
            SwarmPeers(announced.swarm, self._hand_out(announced, event.peer, origins, now))
            for announced, origins in event.swarms
        ]
        return SendReply(event.ticket, AnnounceReply(self._interval_of(event), swarms))

    def _hand_out(
        self, announced: SwarmAnnounce, asking: PeerEntry, origins: Sequence[PeerEntry], now: float
    ) -> list[PeerEntry]:
        """Random peers, and a few origins among them at random places, so that no list begins with them."""
        if announced.left or announced.want == 0:
            return []
        swarm = self._swarms.get(announced.swarm)
        chosen = self._sample(swarm, _key(asking), min(announced.want, self._settings.peers), now)
        if asking.role != Role.ORIGIN.value:
            known = {peer.peer_id for peer in chosen}
            fresh = [origin for origin in origins if origin.peer_id not in known and origin.peer_id != asking.peer_id]
            for origin in self._rng.sample(fresh, min(self._settings.origins, len(fresh))):
                chosen.insert(int(self._rng.random() * (len(chosen) + 1)), origin)
        return chosen

    def _sample(self, swarm: _Swarm | None, asking: PeerKey, count: int, now: float) -> list[PeerEntry]:
        if swarm is None:
            return []
        order = swarm.order
        # A few more than wanted, because the asking peer and expired ones may be among them.
        places = self._rng.sample(range(len(order)), min(count + 4, len(order)))
        alive = [swarm.peers[order[at]] for at in places if order[at] != asking]
        return [peer.entry for peer in alive if peer.expires > now][:count]

    def _interval_of(self, event: AnnounceArrived) -> float:
        """Seconds until this peer is to announce again: what the largest of its swarms asks for."""
        known = (self._swarms.get(announced.swarm) for announced, _origins in event.swarms)
        largest = max((len(swarm.order) for swarm in known if swarm is not None), default=0)
        return max(self._settings.interval_seconds, largest / self._settings.peers_per_interval_second)

    def _expire(self, now: float) -> None:
        """Forget peers from the front of the watch list, until one that is still good."""
        self._sweep = None
        while self._watch:
            swarm_id, key = next(iter(self._watch))
            peer = self._swarms[swarm_id].peers[key]
            if peer.expires > now:
                self._sweep = peer.expires
                return
            self._remove(swarm_id, key)

    def _remove(self, swarm_id: bytes, key: PeerKey) -> None:
        swarm = self._swarms.get(swarm_id)
        peer = swarm.peers.pop(key, None) if swarm is not None else None
        if swarm is None or peer is None:
            return
        last = swarm.order.pop()
        if last != key:
            swarm.order[peer.place] = last
            swarm.peers[last].place = peer.place
        self._peer_count -= 1
        self._watch.pop((swarm_id, key), None)
        if not swarm.order:
            del self._swarms[swarm_id]


def _key(entry: PeerEntry) -> PeerKey:
    return (entry.host, entry.peer_id)
