"""Which blobs leave when room is wanted: the least recently used, never one that is open or pinned."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

from kraken.core.digest import Digest
from kraken.core.pieces import GIB
from kraken.core.settings import Unit, setting
from kraken.storage.ports import StoredBlob


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """How much a store may keep."""

    max_bytes: int = setting(
        20 * GIB, unit=Unit.BYTES, low=0, meaning="Blobs take at most this much; the least recently used ones leave."
    )
    low_water: float = setting(
        0.9,
        unit=Unit.FRACTION,
        low=0.0,
        high=1.0,
        meaning="Once blobs must leave, they do so until this part of max_bytes is used; so not every pull evicts.",
    )
    min_free_bytes: int = setting(
        GIB, unit=Unit.BYTES, low=0, meaning="Blobs leave as well while the disk has less than this free."
    )


@dataclass(frozen=True, slots=True)
class Eviction:
    """Who leaves, in order. `enough` tells whether there is room then."""

    victims: tuple[Digest, ...]
    enough: bool


class EvictionPolicy:
    """Least recently used first, within a byte budget and a reserve of free disk."""

    def __init__(self, settings: CacheSettings) -> None:
        self._settings = settings

    def room_for(
        self, incoming: int, stored: Iterable[StoredBlob], free_bytes: int, pinned: Set[Digest] = frozenset()
    ) -> Eviction:
        """What must leave before `incoming` more bytes come.

        Args: stored, all that takes room; free_bytes, what the disk has left. Ties of age fall by digest.
        """
        blobs = list(stored)
        over = sum(blob.size for blob in blobs) + incoming - self._settings.max_bytes
        short = self._settings.min_free_bytes + incoming - free_bytes
        needed = max(over, short)
        if needed <= 0:
            return Eviction((), enough=True)
        wished = max(needed, over + self._slack() if over > 0 else 0)
        victims, freed = [], 0
        for blob in sorted(blobs, key=lambda blob: (blob.used_at, blob.digest.encoded)):
            if freed >= wished:
                break
            if not blob.in_use and blob.digest not in pinned:
                victims.append(blob.digest)
                freed += blob.size
        return Eviction(tuple(victims), enough=freed >= needed)

    def _slack(self) -> int:
        """Bytes between the budget and its low-water mark."""
        return int(self._settings.max_bytes * (1.0 - self._settings.low_water))
