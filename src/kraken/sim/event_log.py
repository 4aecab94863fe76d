"""A fingerprint of a run: two runs with one fingerprint were the same, event by event."""

from __future__ import annotations

import hashlib
from struct import Struct

_RECORD = Struct("<dIB")
_BATCH = 1 << 16


class EventLog:
    """Hashes (time, host, kind) of every event that an engine took in."""

    def __init__(self, kinds: tuple[type, ...]) -> None:
        self.count = 0
        self._codes = {kind: code for code, kind in enumerate(kinds)}
        self._pack = _RECORD.pack
        self._buffer = bytearray()
        self._hash = hashlib.sha256()

    def note(self, time: float, host: int, event: object) -> None:
        self.count += 1
        self._buffer += self._pack(time, host, self._codes[type(event)])
        if len(self._buffer) >= _BATCH:
            self._hash.update(self._buffer)
            self._buffer.clear()

    def digest(self) -> str:
        """SHA-256 of all of it so far, in hex."""
        whole = self._hash.copy()
        whole.update(self._buffer)
        return whole.hexdigest()
