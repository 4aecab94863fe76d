"""Time. Engines get `now` as an argument; shells read it from a `Clock`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock for deadlines, and a wall clock for what people read."""

    def now(self) -> float:
        """Monotonic seconds; only differences mean something."""
        ...

    def wall(self) -> datetime:
        """The date and time in UTC."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> datetime:
        return datetime.now(UTC)
