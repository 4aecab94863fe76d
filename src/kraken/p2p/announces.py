"""When a node announces which swarms.

A swarm that is wanted is announced at once, and again as often as the tracker says; a blob that is only
held is announced in the same rhythm, so that a tracker that restarted empty is full again within one
interval. Announces are gathered for a moment, for a node that starts holds thousands of blobs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from kraken.core.metainfo import SwarmId

GATHER_SECONDS = 0.002
ALONG_SECONDS = 0.05
"""When one swarm is announced, those go along that would be within this time: a node that starts takes longer to open
its thousands than the first of them waits."""

FIRST_RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 10.0
EARLY_SECONDS = 0.2
"""A swarm that needs more peers is announced again no sooner than this after its last announce; when it still
has too few then, after twice as long, and so on: a small swarm would call five times a second otherwise."""

LONGEST_EARLY_SECONDS = 5.0

BATCH = 1000


@dataclass(frozen=True, slots=True)
class SwarmOpened:
    """The node has, or fetches, a blob. `wanted`: peers are asked for."""

    swarm: SwarmId
    wanted: bool


@dataclass(frozen=True, slots=True)
class SwarmCompleted:
    """The node has the whole blob now."""

    swarm: SwarmId


@dataclass(frozen=True, slots=True)
class SwarmClosed:
    """The node no longer has the blob."""

    swarm: SwarmId


@dataclass(frozen=True, slots=True)
class PeersNeeded:
    """The swarm has too few peers, or has to know how many there are."""

    swarm: SwarmId


@dataclass(frozen=True, slots=True)
class Answered:
    """A tracker took the announce of these swarms; the next is due in `interval` seconds."""

    swarms: tuple[SwarmId, ...]
    interval: float


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No tracker took the announce of these swarms."""

    swarms: tuple[SwarmId, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """Only time has passed."""


Event = SwarmOpened | SwarmCompleted | SwarmClosed | PeersNeeded | Answered | Unanswered | Tick


@dataclass(frozen=True, slots=True)
class Announcement:
    """One swarm of an announce, as far as the schedule knows it."""

    swarm: SwarmId
    wanted: bool
    left: bool


@dataclass(frozen=True, slots=True)
class Announce:
    """Order: announce these swarms, then report who took it."""

    announcements: tuple[Announcement, ...]


@dataclass(slots=True)
class _Entry:
    wanted: bool
    due: float
    announced_at: float = float("-inf")
    retry: float = FIRST_RETRY_SECONDS
    early: float = EARLY_SECONDS
    left: bool = False


class AnnounceSchedule:
    """The announces of one node."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._entries: dict[SwarmId, _Entry] = {}

    def handle(self, event: Event, now: float) -> list[Announce]:
        """Take in what happened at `now` (monotonic seconds). Returns: the announces to be made."""
        match event:
            case SwarmOpened(swarm, wanted):
                self._entries[swarm] = _Entry(wanted, now + (0.0 if wanted else GATHER_SECONDS))
                if not wanted:
                    return []  # a node that starts opens thousands in a row: they are gathered for the next tick
            case SwarmCompleted(swarm):
                self._due(swarm, now + GATHER_SECONDS, wanted=False)
            case SwarmClosed(swarm):
                self._close(swarm, now)
            case PeersNeeded(swarm):
                self._needs_peers(swarm, now)
            case Answered(swarms, interval):
                self._settle(swarms, now, interval)
            case Unanswered(swarms):
                self._retry(swarms, now)
            case Tick():
                pass
        return list(self._announces(now))

    def next_deadline(self) -> float | None:
        """When a Tick is due at the latest."""
        return min((entry.due for entry in self._entries.values()), default=None)

    def _due(self, swarm: SwarmId, at: float, *, wanted: bool) -> None:
        entry = self._entries.get(swarm)
        if entry is not None:
            entry.due, entry.wanted = at, wanted

    def _close(self, swarm: SwarmId, now: float) -> None:
        entry = self._entries.get(swarm)
        if entry is not None:
            entry.due, entry.wanted, entry.left = now + GATHER_SECONDS, False, True

    def _needs_peers(self, swarm: SwarmId, now: float) -> None:
        entry = self._entries.get(swarm)
        if entry is None or not entry.wanted:
            return
        if now - entry.announced_at > 2 * entry.early:  # it had enough for a while
            entry.early = EARLY_SECONDS
        due = max(now, entry.announced_at + entry.early)
        if due < entry.due:
            entry.due = due
            entry.early = min(entry.early * 2, LONGEST_EARLY_SECONDS)

    def _settle(self, swarms: tuple[SwarmId, ...], now: float, interval: float) -> None:
        for swarm in swarms:
            entry = self._entries.get(swarm)
            if entry is None or entry.left:  # the answer is to an announce from before the goodbye
                continue
            entry.retry = FIRST_RETRY_SECONDS
            if entry.due == float("inf"):  # nothing has called for an earlier one since
                entry.due = now + interval * self._rng.uniform(0.9, 1.0)

    def _retry(self, swarms: tuple[SwarmId, ...], now: float) -> None:
        for swarm in swarms:
            entry = self._entries.get(swarm)
            if entry is None or entry.left:
                continue
            entry.due = now + entry.retry * self._rng.uniform(0.8, 1.2)
            entry.retry = min(entry.retry * 2, LONGEST_RETRY_SECONDS)

    def _announces(self, now: float) -> Iterator[Announce]:
        due = [(swarm, entry) for swarm, entry in self._entries.items() if entry.due <= now + ALONG_SECONDS]
        if not any(entry.due <= now for _, entry in due):
            return
        for at in range(0, len(due), BATCH):
            batch = due[at : at + BATCH]
            for swarm, entry in batch:
                entry.due, entry.announced_at = float("inf"), now
                if entry.left:  # said once: a tracker that does not hear it forgets the peer anyway
                    del self._entries[swarm]
            yield Announce(tuple(Announcement(swarm, entry.wanted, entry.left) for swarm, entry in batch))
