"""Garbage collection at an origin: bytes that no repository has any more.

What is needed is asked of the index nodes. Three things keep a blob that a push is about to need:
it was used within the time of grace (an upload uses it, also one of bytes that are here already); the index says
twice, with a pause between that is longer than the longest write, that nobody has it; and the use is compared once
more where the store lets nobody else at the blob.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Sequence
from typing import Final, Protocol

from kraken.cluster.garbage_report import Finding, GarbageReport, Tally
from kraken.core.digest import Digest
from kraken.core.errors import Unavailable
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.origin.settings import CollectionSettings
from kraken.runtime.clock import Clock
from kraken.storage.ports import BlobStore, StoredBlob

_ASKED_AT_ONCE: Final = 4096
_KIND: Final = "bytes"
_REASON: Final = "no repository has it"


class Uses(Protocol):
    """Who knows what repositories have; `IndexClient` in earnest."""

    async def used(self, digests: Collection[Digest]) -> set[Digest]:
        """Which of these any repository has. Raises: Unavailable, when that is not certain."""
        ...


class Collector:
    """Removes the blobs of a store that nobody needs."""

    def __init__(
        self, blobs: BlobStore, uses: Uses, settings: CollectionSettings, clock: Clock, log: Log, metrics: Metrics
    ) -> None:
        self._blobs = blobs
        self._uses = uses
        self._settings = settings
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._one_run = asyncio.Lock()

    async def run_for_ever(self) -> None:
        """Collect now and then. The first pause is drawn, so that origins started together do not all ask together."""
        pause = self._settings.every_seconds * random.random()
        while True:
            await asyncio.sleep(pause)
            try:
                await self.collect()
            except Unavailable as error:
                self._log.warning(Event.COLLECTION_FAILED, error=str(error))
            pause = self._settings.every_seconds

    async def look(self) -> GarbageReport:
        """What `collect` would remove now. Raises: Unavailable."""
        tally, now = Tally(), self._now()
        for stored in await self._unneeded(self._old(now)):
            tally.add(_finding(stored, now))
        return tally.report(removed=False)

    async def collect(self) -> GarbageReport:
        """Remove every blob that nobody needs. Takes at least the pause between the two looks, if there is any.

        Raises: Unavailable.
        """
        async with self._one_run:
            tally, now = Tally(), self._now()
            found = await self._unneeded(self._old(now))
            if found:
                await asyncio.sleep(self._settings.second_look_seconds)
                found = await self._unneeded(found)
            for stored in found:
                if await self._blobs.remove(stored.digest, unused_since=now - self._settings.grace_seconds):
                    self._removed(stored)
                    tally.add(_finding(stored, now))
            return tally.report(removed=True)

    def _old(self, now: float) -> list[StoredBlob]:
        before = now - self._settings.grace_seconds
        return [stored for stored in self._blobs.digests() if stored.used_at < before]

    async def _unneeded(self, stored: Sequence[StoredBlob]) -> list[StoredBlob]:
        unneeded: list[StoredBlob] = []
        for at in range(0, len(stored), _ASKED_AT_ONCE):
            batch = stored[at : at + _ASKED_AT_ONCE]
            used = await self._uses.used([it.digest for it in batch])
            unneeded += [it for it in batch if it.digest not in used]
        return unneeded

    def _removed(self, stored: StoredBlob) -> None:
        self._metrics.collected.labels(kind=_KIND).inc()
        self._log.info(Event.COLLECTED, kind=_KIND, name=str(stored.digest), bytes=stored.size, reason=_REASON)

    def _now(self) -> float:
        return self._clock.wall().timestamp()


def _finding(stored: StoredBlob, now: float) -> Finding:
    age = round(max(0.0, now - stored.used_at), 3)
    return Finding(_KIND, "", str(stored.digest), stored.size, age, _REASON)
