"""The digest of a blob, computed along its front while the rest still arrives in any order."""

from __future__ import annotations

import threading

from kraken.core.digest import Digest
from kraken.core.pieces import MIB
from kraken.storage.io.files import hash_span

_HASHED_PER_JOB = 16 * MIB  # 10 ms of SHA-256 a job, so that other blobs get their turn on the threads


class FrontHash:
    """The hash of the first `hashed` bytes of a blob. Its methods may be called in any thread, also at once."""

    def __init__(self, digest: Digest) -> None:
        self.hashed = 0
        self._digest = digest
        self._hasher = digest.algorithm.hasher()
        self._lock = threading.Lock()

    def take_if_next(self, start: int, view: memoryview) -> None:
        """Hash what lies in memory if it is what comes next, which saves reading it again."""
        if self._lock.acquire(blocking=False):
            try:
                if self.hashed == start:
                    self._hasher.update(view)
                    self.hashed += len(view)
            finally:
                self._lock.release()

    def hash_on(self, fd: int, frontier: int) -> None:
        """Read and hash some more of the file, up to `frontier`. Raises: Corrupt, when it is shorter."""
        with self._lock:
            stop = min(frontier, self.hashed + _HASHED_PER_JOB)
            if stop > self.hashed:
                hash_span(fd, self.hashed, stop, self._hasher)
                self.hashed = stop

    def begin_again(self, lost: int) -> None:
        """What lay at `lost` was bad; the hash may have seen it."""
        with self._lock:
            if self.hashed > lost:
                self._hasher = self._digest.algorithm.hasher()
                self.hashed = 0

    def matches(self, size: int) -> bool:
        """Whether a blob of `size` bytes has its digest; all of them must be hashed."""
        assert self.hashed == size, f"{self.hashed} of {size} bytes are hashed"
        return self._hasher.hexdigest() == self._digest.encoded
