"""How many more requests than usual an agent needs to get pieces as quickly as the agents around it.

Links are filled by whoever has the most requests waiting, in the shortest queues. An agent cannot see what others get
for theirs, but it hears how many pieces each of its neighbours gains. As long as it does not gain clearly more itself,
it asks for one more at a time. See decision 17.
"""

from __future__ import annotations

_STEP = 8
"""Pieces gained between two looks. With 16 the slowest of 300 hosts has 0.944 of line rate, with 8 0.955."""

_AHEAD = 1.03
"""Who gains so many times what its neighbours do asks for one less. With 1.0 or 0.95 the slowest is slower: where all
are at line rate nobody is ahead, and who has just fallen behind has not noticed it yet."""


class KeepingUp:
    """Compares what an agent gains with what its neighbours do."""

    def __init__(self, most: int) -> None:
        """Args: most, how many more requests than usual there may be."""
        self.more = 0
        """How many more requests than usual may be outstanding, 0 or more."""
        self._most = most
        self._ours = 0
        self._theirs = 0

    def neighbour_gained(self, pieces: int) -> None:
        """A neighbour told that it has so many more pieces."""
        self._theirs += pieces

    def gained(self, neighbours: int) -> None:
        """We have one more piece. Args: neighbours, how many agents tell us what they gain."""
        self._ours += 1
        if self._ours == _STEP:
            ahead = self._ours * neighbours >= _AHEAD * self._theirs
            self.more = max(self.more - 1, 0) if ahead else min(self.more + 1, self._most)
            self._ours = self._theirs = 0
