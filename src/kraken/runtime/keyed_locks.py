"""Locks by key, which exist only while somebody holds or awaits them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Lock:
    """A lock, and how many hold or await it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wanted: int = 0


class KeyedLocks(Generic[K]):
    """Mutual exclusion for each key on its own."""

    def __init__(self) -> None:
        self._locks: dict[K, _Lock] = {}

    @asynccontextmanager
    async def alone_with(self, key: K) -> AsyncIterator[None]:
        """Wait until nobody else is within a block of the same key."""
        lock = self._locks.setdefault(key, _Lock())
        lock.wanted += 1
        try:
            async with lock.lock:
                yield
        finally:
            lock.wanted -= 1
            if lock.wanted == 0:
                del self._locks[key]
