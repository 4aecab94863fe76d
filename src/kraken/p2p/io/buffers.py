"""Memory for pieces between the network and the disk.

Bounded: when it is used up, connections stop reading until a piece has been written. Buffers are
anonymous maps, which go back to the system when they have been idle, and are reused while they are not.
"""

from __future__ import annotations

import mmap
from collections import deque
from collections.abc import Callable


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
        self._waiting: deque[Callable[[], None]] = deque()

    @property
    def used_bytes(self) -> int:
        """Bytes in buffers that are taken."""
        return self._used

    def take(self, length: int) -> Buffer | None:
        """A buffer; None when memory is used up. A buffer is always given when none is taken."""
        if self._used and self._used + length > self._max_bytes:
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
        for _ in range(len(self._waiting)):
            self._waiting.popleft()()

    def when_free(self, retry: Callable[[], None]) -> None:
        """Call `retry` once, when a buffer has been given back."""
        self._waiting.append(retry)

    def trim(self) -> None:
        """Return idle memory to the system: a map is gone with the last reference to it."""
        self._idle.clear()
        self._idle_bytes = 0

    def _reuse(self, length: int) -> mmap.mmap | None:
        for at in range(len(self._idle) - 1, -1, -1):
            if length <= len(self._idle[at]) <= 2 * max(length, mmap.PAGESIZE):
                memory = self._idle.pop(at)
                self._idle_bytes -= len(memory)
                return memory
        return None
