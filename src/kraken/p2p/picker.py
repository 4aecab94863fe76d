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
each all end at once, and three quarters are unhashed then; with this a tenth is, with one pick in three perhaps a
quarter."""


class Availability:
    """How many neighbours hold each piece. Digit `d` is the set of the pieces whose count has 2**d in it."""

    def __init__(self) -> None:
        self._digits: list[int] = []

    def gained(self, pieces: int) -> None:
        """One more neighbour holds each of `pieces`."""
        digits = self._digits
        for place, digit in enumerate(digits):
            digits[place] = digit ^ pieces
            pieces &= digit
            if not pieces:
                return
        if pieces:
            digits.append(pieces)

    def lost(self, pieces: int) -> None:
        """One neighbour less holds each of `pieces`; what nobody holds stays at none."""
        held = 0
        for digit in self._digits:
            held |= digit
        pieces &= held
        for place, digit in enumerate(self._digits):
            self._digits[place] = digit ^ pieces
            pieces &= ~digit

    def rarest(self, candidates: int) -> int:
        """Those of `candidates`, a set that is not empty, which the fewest neighbours hold."""
        for digit in reversed(self._digits):
            candidates = candidates & ~digit or candidates
        return candidates


class Picker:
    """Chooses among candidate pieces. Chance comes from `rng`, so a seed repeats a run."""

    def __init__(self, window: int, rng: random.Random) -> None:
        """Args: window, the pieces ahead of a reader that come before all others."""
        self.availability = Availability()
        self._window = window
        self._rng = rng

    def pick(self, candidates: int, readers: Sequence[range], *, in_order: bool) -> PieceIndex:
        """One of `candidates`, a set that is not empty.

        Args: readers, what each reader still wants; in_order, whether the next piece for one of them is taken
        whenever there is one (a lone reader), or the rarest of those soon due (a crowd, which would otherwise ask its
        origins for the same few pieces).
        """
        if readers:
            reader = readers[0] if len(readers) == 1 else self._one_of(readers, candidates)
            ahead = candidates & between(reader.start, min(reader.stop, reader.start + self._window))
            if ahead and in_order:
                return lowest(ahead)
            soon = max(1, int(self._window * self._rng.random() ** _LEANING))
            candidates = ahead & between(reader.start, reader.start + soon) or ahead or candidates
        return any_of(self.availability.rarest(candidates), self._rng)

    def _one_of(self, readers: Sequence[range], candidates: int) -> range:
        """A reader for whom there is something among the candidates; any, if there is none."""
        served = [each for each in readers if candidates & between(each.start, each.stop)] or readers
        if self._rng.randrange(_TO_THE_FIRST):
            return self._rng.choice(served)
        return min(served, key=lambda each: each.start)
