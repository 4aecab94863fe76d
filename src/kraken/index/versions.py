"""Versions of what the index holds: a hybrid logical clock, so that the last writer wins everywhere alike.

Source: Kulkarni et al., "Logical Physical Clocks and Consistent Snapshots in Globally Distributed Databases", 2014.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kraken.core.errors import Invalid

_MAX_MILLISECONDS = 2**48 - 1
_MAX_COUNTER = 2**16 - 1
_COLLECTOR = "f" * 16
"""No writer has this node: it marks the removals that collectors make."""

_TEXT = re.compile(r"([0-9a-f]{12})-([0-9a-f]{4})-([0-9a-f]{16})")


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """When something was written, and by whom. Later writes compare greater; no two are equal.

    `milliseconds` since 1970, `counter` for writes of the same one, `node` 16 hex digits of the writer.
    """

    milliseconds: int
    counter: int
    node: str

    def __post_init__(self) -> None:
        if not _TEXT.fullmatch(str(self)):
            raise Invalid(f"{self.milliseconds}, {self.counter}, {self.node[:40]!r} is not a version")

    def __str__(self) -> str:
        """Fixed width, so that the texts sort as the versions do."""
        return f"{self.milliseconds:012x}-{self.counter:04x}-{self.node}"

    @property
    def collected(self) -> Version:
        """The version under which a collector removes what was written with this one.

        It is greater than this, and less than anything that is written afterwards: whoever writes the row while
        it is being collected wins, wherever and in whatever order the two arrive.
        """
        return Version(self.milliseconds, self.counter, _COLLECTOR)

    @classmethod
    def parse(cls, text: str) -> Version:
        """Admit a version from a message or a database. Raises: Invalid."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise Invalid(f"{text[:80]!r} is not a version")
        return cls(int(match[1], 16), int(match[2], 16), match[3])


class HybridClock:
    """Gives versions, each greater than all that it gave or was shown, and near the wall clock."""

    def __init__(self, node: str) -> None:
        self._last = Version(0, 0, node)

    def next(self, wall_milliseconds: int) -> Version:
        """A version for a write that happens now.

        Raises: Invalid, when the clock is beyond what a version can hold.
        """
        last = self._last
        if wall_milliseconds > last.milliseconds:
            self._last = Version(wall_milliseconds, 0, last.node)
        elif last.counter < _MAX_COUNTER:
            self._last = Version(last.milliseconds, last.counter + 1, last.node)
        else:
            self._last = Version(min(last.milliseconds + 1, _MAX_MILLISECONDS), 0, last.node)
        return self._last

    def observe(self, seen: Version) -> None:
        """Take note of another's version: whatever is given from now on is greater."""
        if (seen.milliseconds, seen.counter) > (self._last.milliseconds, self._last.counter):
            self._last = Version(seen.milliseconds, seen.counter, self._last.node)
