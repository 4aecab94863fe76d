"""The manifests that were read last, in memory: small, asked for again and again, and never changing."""

from __future__ import annotations

from collections import OrderedDict

from kraken.core.digest import Digest
from kraken.core.pieces import KIB, MIB

_MAX_BYTES = 8 * MIB
_MAX_ENTRY_BYTES = 256 * KIB
_ENTRY_OVERHEAD = 512


class RecentManifests:
    """Bytes by digest; those that were asked for longest ago go first."""

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self._room = max_bytes
        self._kept: OrderedDict[Digest, bytes] = OrderedDict()

    def get(self, digest: Digest) -> bytes | None:
        data = self._kept.get(digest)
        if data is not None:
            self._kept.move_to_end(digest)
        return data

    def keep(self, digest: Digest, data: bytes) -> None:
        """Args: data, which have been checked against the digest."""
        if len(data) > _MAX_ENTRY_BYTES or digest in self._kept:
            return
        self._kept[digest] = data
        self._room -= len(data) + _ENTRY_OVERHEAD
        while self._room < 0:
            _digest, oldest = self._kept.popitem(last=False)
            self._room += len(oldest) + _ENTRY_OVERHEAD
