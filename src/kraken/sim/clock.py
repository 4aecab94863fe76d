"""Virtual time: a queue of what is to happen, in order of time and then of when it was planned."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class VirtualClock:
    """Runs planned calls one after the other; `now` is the time of the one that runs, in seconds."""

    __slots__ = ("_queue", "_sequence", "_stopped", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[Any, Any], None], Any, Any]] = []
        self._sequence = 0
        self._stopped = False

    @property
    def calls(self) -> int:
        """How many calls were planned so far."""
        return self._sequence

    def at(self, time: float, call: Callable[[Any, Any], None], one: Any = None, two: Any = None) -> None:
        """Plan `call(one, two)` for `time`. Two arguments, always: packing any number would cost a third more."""
        self._sequence += 1
        heapq.heappush(self._queue, (time, self._sequence, call, one, two))

    def stop(self) -> None:
        """Let `run` end after the current call."""
        self._stopped = True

    def run(self, until: float) -> None:
        """Let time pass until nothing is planned any more, `until` has come, or somebody calls `stop`. It may go on."""
        self._stopped = False
        queue, pop = self._queue, heapq.heappop
        while queue and not self._stopped and queue[0][0] <= until:
            self.now, _, call, one, two = pop(queue)
            call(one, two)
