"""What upstreams did not have a short while ago, so that a whole cluster does not ask them again at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

MAX_ABSENCES: Final = 10_000
"""The one that was noted longest ago goes when it is reached."""


class Absences(Generic[K]):
    """Keys for which the answer was "not found", each with why, for `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._notes: OrderedDict[K, tuple[float, str]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._notes)

    def note(self, key: K, why: str, now: float) -> None:
        """Remember from now on."""
        self._notes[key] = (now + self._seconds, why)
        self._notes.move_to_end(key)
        if len(self._notes) > MAX_ABSENCES:
            self._notes.popitem(last=False)

    def why(self, key: K, now: float) -> str | None:
        """Why there is nothing; None when nothing is known of it any more."""
        until, why = self._notes.get(key, (now, ""))
        if now < until:
            return why
        self._notes.pop(key, None)
        return None
