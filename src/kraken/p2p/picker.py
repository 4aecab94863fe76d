"""Which piece to ask a peer for: rarest first, with a leaning towards what a reader waits for.

The counts of holders stand upright: one bit set for the ones of all counts, one for the twos, one for the fours. To
add a set of pieces is to add with carries, to find the rarest is to look from the highest digit down; each is a handful
of integer operations at 1,024 pieces, where a scan over the pieces costs 130 us.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from kraken.core.pieces import PieceIndex
from kraken.p2p.bitfield import any_of, between, lowest

_LEANING = 3
"""How strongly picks lean towards a reader: the rarest is sought in a stretch ahead of it, whose length is drawn anew
each time as the window times a random number to this power."""

_TO_THE_FIRST = 2
"""Of several readers the one whose part comes first gets one pick in so many, and its share of the others. The digest
of the whole, for which the last piece waits, is computed along the front. With equal shares four readers of a quarter
each all end at once, and three quarters are unhashed then; with this a tenth is."""

_USUAL_CROWD = 244
"""A crowd of so many stands the usual window, and a larger one a window that is larger in proportion."""

_USUAL_PART, _LARGEST_PART = 4, 3
"""The usual window is at most a quarter of the blob, or nearly all would have to be here before a reader could go on.
That of a large crowd, where pieces take long to reach everybody, is at most a third of it."""


def window_of(most: int, pieces: int, crowd: int) -> int:
    """How many pieces ahead of a reader come before all others.

    Args: most, how many there may be in a usual crowd, 1 or more; pieces, how many the blob has; crowd, how many
    fetch it, 0 when that is not known.
    """
    usual = min(most, max(pieces // _USUAL_PART, 1))
    return min(usual * max(crowd, _USUAL_CROWD) // _USUAL_CROWD, largest_window_of(pieces))


def largest_window_of(pieces: int) -> int:
    """The window of the largest crowds, for a blob of so many pieces."""
    return max(pieces // _LARGEST_PART, 1)


class Availability:
    """How many agents around us hold each piece; origins hold all.

    Digit `d` is the set of the pieces whose count has 2**d in it.
    """

    def __init__(self) -> None:
        self._digits: list[int] = []

    def gained(self, pieces: int) -> None:
        """One more agent holds each of `pieces`."""
        digits = self._digits
        for place, digit in enumerate(digits):
            digits[place] = digit ^ pieces
            pieces &= digit
            if not pieces:
                return
        if pieces:
            digits.append(pieces)

    def lost(self, pieces: int) -> None:
        """One agent less holds each of `pieces`; what nobody holds stays at none."""
        pieces &= self.held
        for place, digit in enumerate(self._digits):
            self._digits[place] = digit ^ pieces
            pieces &= ~digit

    @property
    def held(self) -> int:
        """The pieces that anybody holds."""
        held = 0
        for digit in self._digits:
            held |= digit
        return held

    def rarest(self, candidates: int) -> int:
        """Those of `candidates`, a set that is not empty, which the fewest agents hold."""
        for digit in reversed(self._digits):
            candidates = candidates & ~digit or candidates
        return candidates

    def with_few_holders(self, candidates: int) -> int:
        """Those of `candidates` that no more than three agents hold."""
        for digit in self._digits[2:]:
            candidates &= ~digit
        return candidates


class Picker:
    """Chooses among candidate pieces. Chance comes from `rng`, so a seed repeats a run."""

    def __init__(self, window: int, rng: random.Random) -> None:
        """Args: window, the pieces ahead of a reader that come before all others; it may be changed at any time."""
        self.availability = Availability()
        self.window = window
        self._rng = rng

    def pick(self, candidates: int, readers: Sequence[range], *, in_order: bool) -> PieceIndex:
        """One of `candidates`, a set that is not empty.

        Args: readers, what each reader still wants; in_order, whether the next piece for one of them is taken
        whenever there is one (a lone reader), or the rarest of those soon due (a crowd, which would otherwise ask its
        origins for the same few pieces).
        """
        if readers:
            reader = readers[0] if len(readers) == 1 else self._one_of(readers, candidates)
            ahead = candidates & between(reader.start, min(reader.stop, reader.start + self.window))
            if ahead and in_order:
                return lowest(ahead)
            soon = max(1, int(self.window * self._rng.random() ** _LEANING))
            candidates = ahead & between(reader.start, reader.start + soon) or ahead or candidates
        return any_of(self.availability.rarest(candidates), self._rng)

    def _one_of(self, readers: Sequence[range], candidates: int) -> range:
        """A reader for whom there is something among the candidates; any, if there is none."""
        served = [each for each in readers if candidates & between(each.start, each.stop)] or readers
        if self._rng.randrange(_TO_THE_FIRST):
            return self._rng.choice(served)
        return min(served, key=lambda each: each.start)
