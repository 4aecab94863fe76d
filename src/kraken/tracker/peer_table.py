"""Who is in which swarm, and whom to introduce to whom.

An engine: `now` is an argument, chance a constructor argument. Invariants: no more swarms and peers than the
settings allow; a peer is never handed to itself; a peer that missed its intervals is never handed out. An announce
costs the same few microseconds however many peers there are.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from math import floor, inf
from typing import Generic, TypeVar

import msgspec

from kraken.core.peers import Role
from kraken.tracker.messages import SwarmAnnounce, joined_reply
from kraken.tracker.roster import Listed, Roster
from kraken.tracker.settings import AnnounceSettings

_STALE_WATCHES = 1000
"""So many peers that have left, and as many again as there are peers, may stay on the watch list until their time."""

_AGENT = Role.AGENT  # looked up once: each look at a member of an enumeration costs

OriginChoices = tuple[tuple[bytes, ...], ...]
"""The origins that may be handed out together, each an encoded `PeerEntry`: one choice of these is made each time."""

Ticket = TypeVar("Ticket")
"""Tells the caller whose announce it was; the table only gives it back."""


class AnnounceArrived(msgspec.Struct, Generic[Ticket], frozen=True):
    """A peer announced itself.

    `peer` is what others are told of it, an encoded `PeerEntry`. Beside each swarm stand its origins, see
    `origin_choices`.
    """

    ticket: Ticket
    peer: bytes
    role: Role
    zone: str
    swarms: Sequence[tuple[SwarmAnnounce, OriginChoices]]


def origin_choices(origins: tuple[bytes, ...], count: int) -> OriginChoices:
    """What can be made of the origins that own a blob and can be reached: `count` neighbours in a circle, or all."""
    circle, count = origins + origins, min(count, len(origins))
    return tuple(circle[first : first + count] for first in range(len(origins)))


@dataclass(frozen=True, slots=True)
class Tick:
    """The next deadline has come."""


class SendReply(msgspec.Struct, Generic[Ticket], frozen=True):
    """Answer the announce with this ticket. `reply` is an `AnnounceReply`, encoded."""

    ticket: Ticket
    reply: bytes


class PeerTable(Generic[Ticket]):
    """The swarms of one tracker."""

    def __init__(self, settings: AnnounceSettings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._rosters: dict[bytes, Roster] = {}
        self._peer_count = 0
        self._held: list[tuple[AnnounceArrived[Ticket], bool]] = []  # with whether it has just joined
        self._release = inf
        # When to look whether a peer is still heard of: a heap. A peer is here once, at a time that it may have
        # outlived since; its number decides between equal times.
        self._watch: list[tuple[float, int, Roster, bytes]] = []
        self._next_look = inf  # the first time in the heap
        self._numbers = count()

    @property
    def swarm_count(self) -> int:
        return len(self._rosters)

    @property
    def peer_count(self) -> int:
        """Entries in all swarms; a peer in two swarms counts twice."""
        return self._peer_count

    @property
    def rosters(self) -> Collection[Roster]:
        """All swarms. To be read, and only until the next event."""
        return self._rosters.values()

    def roster(self, swarm: bytes) -> Roster | None:
        """One swarm, to be read until the next event; None when nobody is in it."""
        return self._rosters.get(swarm)

    def handle(self, event: AnnounceArrived[Ticket] | Tick, now: float) -> list[SendReply[Ticket]]:
        """Take an event in.

        Returns: the answers that are due; an announce to a young swarm gets its own at a later tick.
        """
        if now >= self._next_look:
            self._forget_the_silent(now)
        due = self._arrived(event, now) if isinstance(event, AnnounceArrived) else []
        if now >= self._release:
            due += [self._answer(held, self._interval_of(held), joins) for held, joins in self._held]
            self._held.clear()
            self._release = inf
        return due

    def next_deadline(self) -> float | None:
        """When a `Tick` is wanted; None while there is nothing to wait for."""
        if self._next_look < self._release:
            return self._next_look
        return self._release if self._release < inf else None

    def _arrived(self, event: AnnounceArrived[Ticket], now: float) -> list[SendReply[Ticket]]:
        interval = self._interval_of(event)
        held, joins = self._admit(event, now, now + interval * self._settings.missed_intervals)
        if not held:
            return [self._answer(event, interval, joins)]
        self._held.append((event, joins))
        self._release = min(self._release, now + self._settings.hold_seconds)
        return []

    def _interval_of(self, event: AnnounceArrived[Ticket]) -> float:
        """Seconds until this peer is to announce again: what the largest of its swarms asks for."""
        largest = 0
        for announced, _choices in event.swarms:
            roster = self._rosters.get(announced.swarm)
            if roster is not None and len(roster.peers) > largest:
                largest = len(roster.peers)
        settings = self._settings
        interval = largest / settings.peers_per_interval_second
        if interval < settings.interval_seconds:  # here and below: a call of min or max costs more than all of this
            interval = settings.interval_seconds
        return interval

    def _admit(self, event: AnnounceArrived[Ticket], now: float, expires: float) -> tuple[bool, bool]:
        """Note the peer in its swarms. Returns: whether its answer is to be held, and whether it joins one of them."""
        peer, held, joins = event.peer, False, False
        for announced, _choices in event.swarms:
            roster = self._rosters.get(announced.swarm)
            if announced.left:
                if roster is not None and peer in roster:
                    self._remove(roster, peer)
                continue
            if roster is None:
                roster = self._begin(announced, now)
                if roster is None:
                    continue
            if not roster.heard(peer, expires, announced.complete) and self._peer_count < self._settings.max_peers:
                number = next(self._numbers)
                roster.add(peer, Listed(number, now, event.role, event.zone), expires, announced.complete)
                self._peer_count += 1
                joins = True
                heappush(self._watch, (expires, number, roster, peer))
                self._next_look = self._watch[0][0]
            if now < roster.young_until and announced.want:
                held = True
        return held, joins

    def _begin(self, announced: SwarmAnnounce, now: float) -> Roster | None:
        """A swarm that nobody was in; None when there is no room for it."""
        if len(self._rosters) >= self._settings.max_swarms or self._peer_count >= self._settings.max_peers:
            return None
        roster = self._rosters[announced.swarm] = Roster(announced.swarm, announced.digest, now, self._rng)
        if self._settings.hold_seconds > 0:
            roster.young_until = now + self._settings.young_seconds
        return roster

    def _answer(self, event: AnnounceArrived[Ticket], interval: float, joins: bool) -> SendReply[Ticket]:
        swarms = []
        for asked, choices in event.swarms:
            roster = self._rosters.get(asked.swarm)
            crowd = roster.crowd if roster is not None else 0
            swarms.append((asked.swarm, self._hand_out(asked, choices, event, joins, roster), crowd))
        return SendReply(event.ticket, joined_reply(interval, swarms))

    def _hand_out(
        self,
        asked: SwarmAnnounce,
        choices: OriginChoices,
        event: AnnounceArrived[Ticket],
        joins: bool,
        roster: Roster | None,
    ) -> Sequence[bytes]:
        """Peers, and a few origins among them at a random place, so that few lists begin with them."""
        if asked.left or not asked.want:
            return ()
        settings, random = self._settings, self._rng.random
        dealt: list[bytes] = []
        if roster is not None:
            count = asked.want
            if count > settings.peers:
                count = settings.peers
            if event.zone:
                dealt = roster.deal_near(count, event.peer, event.zone, settings.crossing, joins=joins)
            else:
                dealt = roster.deal(count, event.peer, joins=joins)
        if choices and event.role is _AGENT:
            some = choices[floor(random() * len(choices))]
            for origin in some:
                if roster is not None and origin in roster.places and origin in dealt:
                    some = tuple(other for other in some if other != origin)
            place = floor(random() * (len(dealt) + 1))
            dealt[place:place] = some
        return dealt

    def _forget_the_silent(self, now: float) -> None:
        while self._watch and self._watch[0][0] <= now:
            _, number, roster, peer = self._watch[0]
            expires = roster.expires(peer, number)
            if expires is not None and expires > now:
                heapreplace(self._watch, (expires, number, roster, peer))
                continue
            heappop(self._watch)
            if expires is not None:
                self._remove(roster, peer)
        self._next_look = self._watch[0][0] if self._watch else inf

    def _remove(self, roster: Roster, peer: bytes) -> None:
        roster.remove(peer)
        self._peer_count -= 1
        if not len(roster):
            del self._rosters[roster.swarm]
        if len(self._watch) > 2 * self._peer_count + _STALE_WATCHES:
            self._watch = [watch for watch in self._watch if watch[2].expires(watch[3], watch[1]) is not None]
            heapify(self._watch)
            self._next_look = self._watch[0][0] if self._watch else inf
