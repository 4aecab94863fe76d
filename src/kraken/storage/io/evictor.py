"""Makes room in a store, as the eviction policy says."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Set
from pathlib import Path

from kraken.core.digest import Digest
from kraken.core.errors import OutOfSpace
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.runtime.threads import FileThreads
from kraken.storage.eviction import CacheSettings, EvictionPolicy
from kraken.storage.ports import BlobStore


def free_bytes(root: Path) -> int:
    """What an unprivileged process may still write to the file system of `root`. Blocking."""
    stat = os.statvfs(root)
    return stat.f_bavail * stat.f_frsize


class Evictor:
    """Removes blobs of one store before others come."""

    def __init__(
        self,
        blobs: BlobStore,
        root: Path,
        settings: CacheSettings,
        threads: FileThreads,
        log: Log,
        metrics: Metrics,
        pinned: Callable[[], Set[Digest]] = frozenset,
    ) -> None:
        """Args: root, a directory on the store's disk; pinned, tells which blobs must stay now."""
        self._blobs = blobs
        self._root = root
        self._policy = EvictionPolicy(settings)
        self._threads = threads
        self._log = log
        self._metrics = metrics
        self._pinned = pinned
        self.on_evict: Callable[[Digest, int], None] = lambda _digest, _size: None
        """Called with digest and bytes of a blob that is about to be removed."""
        self.on_shortage: Callable[[], None] = lambda: None
        """Called when too much is open or pinned: whatever can be closed, should be."""
        self._turn = asyncio.Lock()

    async def make_room(self, incoming: int) -> None:
        """Let the least recently used blobs go until `incoming` bytes fit.

        Raises: OutOfSpace, when what is open or pinned takes too much; nothing was removed then.
        """
        async with self._turn:
            free = await self._threads.run(free_bytes, self._root)
            eviction = self._policy.room_for(incoming, self._blobs.stored(), free, self._pinned())
            if not eviction.enough:
                self.on_shortage()
                eviction = self._policy.room_for(incoming, self._blobs.stored(), free, self._pinned())
            if not eviction.enough:
                self._log.error(Event.OUT_OF_SPACE, wanted=incoming, used=self._blobs.used_bytes, free=free)
                raise OutOfSpace(
                    f"no room for {incoming} bytes: {self._blobs.used_bytes} are used, {free} are free; raise "
                    f"cache.max_bytes, lower cache.min_free_bytes, or make room below {self._root}"
                )
            for digest in eviction.victims:
                await self._evict(digest)

    async def _evict(self, digest: Digest) -> None:
        blob = next((blob for blob in self._blobs.stored() if blob.digest == digest), None)
        if blob is None or blob.in_use or digest in self._pinned():
            return  # somebody opened it while those before it were removed
        self.on_evict(digest, blob.size)
        await self._blobs.remove(digest)
        self._metrics.evictions.inc()
        self._log.info(Event.EVICTED, digest=str(digest), bytes=blob.size)
