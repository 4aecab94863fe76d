"""Tells the trackers which swarms this agent is in, and its swarms which peers there are."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from kraken.core.digest import Digest
from kraken.core.errors import Invalid, KrakenError
from kraken.core.metainfo import SwarmId
from kraken.core.peers import Address, PeerId, Role
from kraken.observability.events import Event as LogEvent
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.p2p.announces import (
    Announce,
    AnnounceSchedule,
    Answered,
    Event,
    PeersNeeded,
    SwarmClosed,
    SwarmCompleted,
    SwarmOpened,
    Tick,
    Unanswered,
)
from kraken.p2p.dialing import Candidate
from kraken.p2p.events import PeersOffered
from kraken.runtime.tasks import Tasks
from kraken.tracker.client import Announced, Announcer
from kraken.tracker.messages import PeerEntry, SwarmAnnounce

PEERS_WANTED = 20

Offer = Callable[[SwarmId, PeersOffered], None]


class Trackers(Protocol):
    """Where announces go; `tracker.client.TrackerClient` in earnest."""

    async def announce(self, announcer: Announcer, swarms: Sequence[SwarmAnnounce]) -> Announced: ...


class Announcing:
    """The announce schedule of one agent, at work between `start` and `stop`."""

    def __init__(self, trackers: Trackers, offer: Offer, tasks: Tasks, log: Log, metrics: Metrics) -> None:
        """Args: offer, called with what a tracker answered for a swarm."""
        self._trackers = trackers
        self._offer = offer
        self._tasks = tasks
        self._log = log
        self._metrics = metrics
        self._schedule = AnnounceSchedule(random.Random())
        self._digests: dict[SwarmId, Digest] = {}
        self._complete: set[SwarmId] = set()
        self._changed = asyncio.Event()
        self._announcer: Announcer | None = None

    def start(self, announcer: Announcer) -> None:
        """Begin to announce, as this peer."""
        self._announcer = announcer
        self._tasks.spawn("announce_loop", self._drive())

    async def say_goodbye(self, seconds: float) -> None:
        """Take this peer off the lists, so that nobody dials it any more; give up after `seconds`.

        Nothing is announced from then on: it would put the peer back on the lists.
        """
        announcer, self._announcer = self._announcer, None
        leaving = [SwarmAnnounce(str(digest), swarm, left=True) for swarm, digest in self._digests.items()]
        if leaving and announcer is not None:
            with suppress(TimeoutError, KrakenError):
                async with asyncio.timeout(seconds):
                    await self._trackers.announce(announcer, leaving)

    def opened(self, swarm: SwarmId, digest: Digest, *, wanted: bool, complete: bool) -> None:
        """The agent fetches (`wanted`) or holds a blob."""
        self._digests[swarm] = digest
        if complete:
            self._complete.add(swarm)
        else:
            self._complete.discard(swarm)
        self._tell(SwarmOpened(swarm, wanted))

    def completed(self, swarm: SwarmId) -> None:
        """The agent has the whole blob now."""
        self._complete.add(swarm)
        self._tell(SwarmCompleted(swarm))

    def closed(self, swarm: SwarmId) -> None:
        """The agent no longer has the blob."""
        if swarm in self._digests:
            self._tell(SwarmClosed(swarm))

    def peers_needed(self, swarm: SwarmId) -> None:
        """The swarm has too few peers, or has to know how many there are."""
        self._tell(PeersNeeded(swarm))

    async def _drive(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            self._tell(Tick(), wake=False)
            deadline = self._schedule.next_deadline()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if deadline is None else max(0.0, deadline - loop.time())):
                    await self._changed.wait()

    def _tell(self, event: Event, *, wake: bool = True) -> None:
        for order in self._schedule.handle(event, asyncio.get_running_loop().time()):
            self._tasks.spawn("announce", self._announce(self._described(order)))
        if wake:
            self._changed.set()

    def _described(self, order: Announce) -> list[SwarmAnnounce]:
        """What is announced, as it is at the moment of the order; what is left is forgotten with it."""
        swarms = [
            SwarmAnnounce(
                str(self._digests[each.swarm]),
                each.swarm,
                PEERS_WANTED if each.wanted else 0,
                each.swarm in self._complete,
                each.left,
            )
            for each in order.announcements
        ]
        for each in order.announcements:
            if each.left:
                del self._digests[each.swarm]
                self._complete.discard(each.swarm)
        return swarms

    async def _announce(self, swarms: list[SwarmAnnounce]) -> None:
        if self._announcer is None:
            self._tell(Unanswered(tuple(SwarmId(each.swarm) for each in swarms)))
            return
        try:
            answer = await self._trackers.announce(self._announcer, swarms)
        except KrakenError as error:  # whatever a tracker says: it is asked again, or another one is
            self._metrics.announces.labels(result="failed").inc()
            self._log.warning(LogEvent.ANNOUNCE_FAILED, swarms=len(swarms), error=str(error))
            self._tell(Unanswered(tuple(SwarmId(each.swarm) for each in swarms)))
            return
        self._metrics.announces.labels(result="ok").inc()
        unreached = tuple(map(SwarmId, answer.unreached))
        self._tell(Answered(tuple(SwarmId(each.swarm) for each in answer.swarms), answer.interval))
        if unreached:
            self._tell(Unanswered(unreached))
        for named in answer.swarms:
            candidates = tuple(filter(None, map(_candidate, named.peers)))
            self._offer(SwarmId(named.swarm), PeersOffered(candidates, named.crowd))


def _candidate(entry: PeerEntry) -> Candidate | None:
    """A peer as the tracker named it; None when it cannot be dialled."""
    try:
        return Candidate(Address(entry.host, entry.port), Role(entry.role), PeerId(entry.peer_id))
    except (Invalid, ValueError):
        return None
