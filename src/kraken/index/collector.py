"""Garbage collection at an index node: tags whose time is over, and manifests and links that nothing needs.

Each node collects for itself, on what it knows. That needs no agreement, for a removal carries the version of the
write that it undoes (`Version.collected`): a push that happens meanwhile, also at nodes that this one has not heard
from, is newer and stands. And who has heard less than others removes less: what was pushed lately is not there to
be found, and what was removed lately still counts as needed.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import sys
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from kraken.cluster.garbage_report import Finding, GarbageReport, Tally
from kraken.core.errors import Unavailable
from kraken.index import garbage
from kraken.index.garbage import Garbage
from kraken.index.retention import RetentionRule
from kraken.index.settings import CollectionSettings
from kraken.index.sqlite import SqliteIndexStore
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.runtime.clock import Clock

_MOST_AT_ONCE = 100_000
"""Findings of one look, which are kept in memory."""

_BATCH = 500
"""Removals that are written together; more of them would hold up the writes of pushes."""


class Look(Protocol):
    """Finds up to `limit` pieces of garbage of one kind."""

    def __call__(self, base: sqlite3.Connection, *, limit: int) -> Sequence[Garbage]: ...


class Collector:
    """Finds garbage in a store, and removes it."""

    def __init__(
        self,
        store: SqliteIndexStore,
        settings: CollectionSettings,
        rules: tuple[RetentionRule, ...],
        clock: Clock,
        log: Log,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._settings = settings
        self._rules = rules
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._one_run = asyncio.Lock()

    async def run_for_ever(self) -> None:
        """Collect now and then. The first pause is drawn, so that nodes started together do not all pause together."""
        pause = self._settings.every_seconds * random.random()
        while True:
            await asyncio.sleep(pause)
            try:
                await self.collect()
            except Unavailable as error:
                self._log.warning(Event.COLLECTION_FAILED, error=str(error))
            pause = self._settings.every_seconds

    async def collect(self) -> GarbageReport:
        """Remove everything that is garbage now."""
        async with self._one_run:
            tally, now = Tally(), self._now()
            for look in self._looks(now):
                while found := await self._store.scan(look, limit=_MOST_AT_ONCE):  # what went is not found again
                    for at in range(0, len(found), _BATCH):
                        await self._remove(found[at : at + _BATCH], tally, now)
            await self._store.change(garbage.forget, now - self._settings.forget_seconds)
            return tally.report(removed=True)

    async def look(self) -> GarbageReport:
        """What `collect` would remove now; what that would make garbage in turn is not foreseen."""
        tally, now = Tally(), self._now()
        for look in self._looks(now):
            for found in await self._store.scan(look, limit=sys.maxsize):
                tally.add(_finding(found, now))
        return tally.report(removed=False)

    def _looks(self, now: float) -> list[Look]:
        """In the order in which one makes work for the next."""
        before = now - self._settings.grace_seconds
        looks: list[Look] = [partial(garbage.expired, rules=self._rules, now=now)]
        if self._settings.untagged_manifests:
            looks.append(partial(garbage.untagged_manifests, before=before))
        return [*looks, partial(garbage.unneeded_links, before=before)]

    async def _remove(self, found: Sequence[Garbage], tally: Tally, now: float) -> None:
        await asyncio.gather(*(self._store.put(it.removal()) for it in found))
        for it in found:
            tally.add(_finding(it, now))
            self._metrics.collected.labels(kind=it.kind.value).inc()
            self._log.info(
                Event.COLLECTED, kind=it.kind.value, repository=str(it.repository), name=it.name, reason=it.reason
            )

    def _now(self) -> float:
        return self._clock.wall().timestamp()


def _finding(it: Garbage, now: float) -> Finding:
    age = max(0.0, now - it.version.milliseconds / 1000)
    return Finding(it.kind.value, str(it.repository), it.name, it.size, round(age, 3), it.reason)
