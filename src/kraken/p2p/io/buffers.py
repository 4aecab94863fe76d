"""Memory for pieces between the network and the disk.

Bounded: when it is used up, connections stop reading until a piece has been written. An eighth is kept for the first
rank, small blobs. Who waits is served by rank, and in order of arrival within a rank; whoever comes later waits behind
them, so a long piece gets its memory however many short ones there are. Buffers are anonymous maps, which go back to
the system when they have been idle, and are reused while they are not.
"""

from __future__ import annotations

import mmap
from bisect import insort
from collections import deque
from collections.abc import Callable

from kraken.p2p.priority import SMALL_RANK

_KEPT = 8
"""One part in so many is kept for small blobs: 8 MiB of 64, thirty of their pieces."""


class Buffer:
    """`view` is as long as the piece that it was taken for."""

    __slots__ = ("_map", "view")

    def __init__(self, memory: mmap.mmap, length: int) -> None:
        self._map = memory
        self.view = memoryview(memory)[:length]

    def close(self) -> mmap.mmap:
        """End the use of `view`; returns the memory behind it, into which a caller's own slices may still lead."""
        self.view.release()
        return self._map


class BufferPool:
    """Buffers of at most `max_bytes` in all. Used on the loop only."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._used = 0
        self._idle: list[mmap.mmap] = []
        self._idle_bytes = 0
        self._waiting: list[tuple[int, Callable[[], None]]] = []  # by rank, then in order of arrival
        self._retrying = False

    @property
    def used_bytes(self) -> int:
        """Bytes in buffers that are taken."""
        return self._used

    def take(self, length: int, rank: int) -> Buffer | None:
        """A buffer; None when memory is used up, or others wait for it. There always is one while none is taken."""
        if self._used and not self._may_take(length, rank):
            return None
        memory = self._reuse(length) or mmap.mmap(-1, length)
        self._used += len(memory)
        return Buffer(memory, length)

    def give_back(self, buffer: Buffer) -> None:
        """End the use of a buffer, and let those who wait try again."""
        memory = buffer.close()
        self._used -= len(memory)
        if self._used + self._idle_bytes + len(memory) <= self._max_bytes:
            self._idle.append(memory)
            self._idle_bytes += len(memory)
        if not self._retrying:
            self._let_retry()

    def when_free(self, retry: Callable[[], None], rank: int) -> None:
        """Call `retry` once, when a buffer has been given back and those have theirs that come before."""
        insort(self._waiting, (rank, retry), key=_rank)

    def trim(self) -> None:
        """Return idle memory to the system: a map is gone with the last reference to it."""
        self._idle.clear()
        self._idle_bytes = 0

    def _may_take(self, length: int, rank: int) -> bool:
        before = not self._retrying and bool(self._waiting) and self._waiting[0][0] <= rank
        limit = self._max_bytes - (self._max_bytes // _KEPT if rank > SMALL_RANK else 0)
        return not before and self._used + length <= limit

    def _let_retry(self) -> None:
        """Let those who wait try again, up to the first who gets nothing; from there on they keep their places."""
        waiting, self._waiting = deque(self._waiting), []
        self._retrying = True
        try:
            while waiting and not self._waiting:
                _, retry = waiting.popleft()
                retry()
        finally:
            self._retrying = False
            self._waiting = sorted((*self._waiting, *waiting), key=_rank)  # who tried may be of another rank now

    def _reuse(self, length: int) -> mmap.mmap | None:
        for at in range(len(self._idle) - 1, -1, -1):
            if length <= len(self._idle[at]) <= 2 * max(length, mmap.PAGESIZE):
                memory = self._idle.pop(at)
                self._idle_bytes -= len(memory)
                return memory
        return None


def _rank(waiter: tuple[int, Callable[[], None]]) -> int:
    return waiter[0]
