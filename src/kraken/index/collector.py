"""Garbage collection: tags whose time is over, and manifests and links that nothing needs.

Each index node looks for garbage in what it knows, and it may have missed something: so it asks all nodes, itself among
them. Only what a majority has answered for, and nobody needs, is removed, and from all nodes: whoever needs a row has
written so at a majority, and so to one of those who were asked. A removal carries the version of the write that it
undoes (`Version.collected`): a push that happens meanwhile, at whichever node, is newer and stands, and it does no harm
when several nodes collect the same thing. Which tags of a repository are the newest is more than one node can say: they
are read from a majority before a rule is applied.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

from kraken.cluster.garbage_report import Finding, GarbageReport, Tally
from kraken.core.errors import Unavailable
from kraken.index import garbage
from kraken.index.garbage import Garbage, Grace, Place
from kraken.index.retention import RetentionRule
from kraken.index.settings import CollectionSettings
from kraken.index.sqlite import SqliteIndexStore
from kraken.index.suspects import MAX_SUSPECTS, Need, Nodes, Suspect
from kraken.index.versions import Version
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.oci.references import RepositoryName
from kraken.runtime.clock import Clock

_FOUND_AT_ONCE = 10_000
"""Findings of one look, which are kept in memory; the next look goes on behind them."""


class Look(Protocol):
    """Finds up to `limit` pieces of garbage of one kind, in the order of their keys, that come after a place."""

    def __call__(self, base: sqlite3.Connection, *, after: Place, limit: int) -> Sequence[Garbage]: ...


class Alone:
    """The index nodes, where there is one: what it lets go goes."""

    def __init__(self, store: SqliteIndexStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def tag_versions(self, repository: RepositoryName) -> Mapping[str, Version]:
        return await self._store.read(garbage.tag_versions, repository)

    async def needs(self, suspects: Sequence[Suspect]) -> Sequence[Sequence[Need]]:
        return [()] * len(suspects)

    async def remove_suspects(self, suspects: Sequence[Suspect]) -> set[int]:
        return set(await self._store.change(garbage.remove, suspects, self._clock.wall().timestamp()))


class Collector:
    """Finds garbage in a store, and removes it from all nodes; and answers for its store when another node asks.

    Args: nodes, all index nodes, the one with this store among them.
    """

    def __init__(
        self,
        store: SqliteIndexStore,
        nodes: Nodes,
        settings: CollectionSettings,
        rules: tuple[RetentionRule, ...],
        clock: Clock,
        log: Log,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._nodes = nodes
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
            with suppress(Unavailable):  # which is in the log
                await self.collect()
            pause = self._settings.every_seconds

    async def collect(self) -> GarbageReport:
        """Remove everything that is garbage now.

        Raises: Unavailable, when too few nodes answer; what is still to be removed stays then.
        """
        async with self._one_run:
            tally, now = Tally(), self._now()
            try:
                async for found in self._garbage(now):
                    await self._remove(found, tally, now)
                await self._store.change(garbage.forget, now - self._settings.forget_seconds)
            except Unavailable as error:
                self._log.warning(Event.COLLECTION_FAILED, error=str(error))
                raise
            return tally.report(removed=True)

    async def look(self) -> GarbageReport:
        """What `collect` would remove now; what that would make garbage in turn is not foreseen.

        Raises: Unavailable, when too few nodes answer.
        """
        tally, now = Tally(), self._now()
        async for found in self._garbage(now):
            for it in found:
                tally.add(_finding(it, now))
        return tally.report(removed=False)

    async def needs(self, suspects: Sequence[Suspect]) -> Sequence[Sequence[Need]]:
        """What this node needs of what another one takes for garbage, by its own grace and rules."""
        untagged = self._settings.untagged_manifests
        return await self._store.read(garbage.needs, suspects, grace=self._grace(self._now()), untagged=untagged)

    async def remove(self, suspects: Sequence[Suspect]) -> Sequence[int]:
        """Remove at this node what a majority let go. Returns: the numbers of those that were written later."""
        return await self._store.change(garbage.remove, suspects, self._now())

    async def _garbage(self, now: float) -> AsyncIterator[Sequence[Garbage]]:
        """In batches, and in the order in which one makes work for the next."""
        scan = partial(garbage.repositories_with_expired_tags, rules=self._rules, now=now)
        for repository in await self._store.scan(scan):
            tags = await self._nodes.tag_versions(repository)
            for batch in _batches(garbage.expired(repository, tags, self._rules, now)):
                yield batch
        grace = self._grace(now)
        looks: list[Look] = [partial(garbage.unneeded_links, grace=grace)]
        if self._settings.untagged_manifests:
            looks.insert(0, partial(garbage.untagged_manifests, grace=grace))
        for look in looks:
            async for found in self._found(look):
                for batch in _batches(found):
                    yield await self._let_go(batch, grace)

    async def _found(self, look: Look) -> AsyncIterator[Sequence[Garbage]]:
        place = Place()
        while found := await self._store.scan(look, after=place, limit=_FOUND_AT_ONCE):
            yield found
            last = found[-1].suspect
            place = Place(str(last.repository), last.name)

    async def _let_go(self, found: Sequence[Garbage], grace: Grace) -> list[Garbage]:
        """Those that no node of a majority needs, as far as the needs are not over."""
        told = await self._nodes.needs([it.suspect for it in found])
        doubted = [(it, needs) for it, needs in zip(found, told, strict=True) if needs]
        over = await self._store.read(garbage.outdated, [(it.suspect, needs) for it, needs in doubted], grace=grace)
        needed = {it.suspect for (it, _), is_over in zip(doubted, over, strict=True) if not is_over}
        return [it for it in found if it.suspect not in needed]

    async def _remove(self, found: Sequence[Garbage], tally: Tally, now: float) -> None:
        if not found:
            return
        kept = await self._nodes.remove_suspects([it.suspect for it in found])
        for it in (it for number, it in enumerate(found) if number not in kept):
            tally.add(_finding(it, now))
            kind, repository, name = it.suspect.kind.value, str(it.suspect.repository), it.suspect.name
            self._metrics.collected.labels(kind=kind).inc()
            self._log.info(Event.COLLECTED, kind=kind, repository=repository, name=name, reason=it.reason)

    def _grace(self, now: float) -> Grace:
        return Grace(now - self._settings.grace_seconds)

    def _now(self) -> float:
        return self._clock.wall().timestamp()


def _batches(found: Sequence[Garbage]) -> Iterator[Sequence[Garbage]]:
    for at in range(0, len(found), MAX_SUSPECTS):
        yield found[at : at + MAX_SUSPECTS]


def _finding(it: Garbage, now: float) -> Finding:
    suspect = it.suspect
    age = max(0.0, now - suspect.version.milliseconds / 1000)
    return Finding(suspect.kind.value, str(suspect.repository), suspect.name, it.size, round(age, 3), it.reason)
