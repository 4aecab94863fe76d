"""Which piece to ask a peer for: rarest first, with a leaning towards what a reader waits for.

The counts of holders stand upright: one bit set for the ones of all counts, one for the twos, one for the fours. To
add a set of pieces is to add with carries, to find the rarest is to look from the highest digit down; each is a handful
of integer operations at 1,024 pieces, where a scan over the pieces costs 130 us.
"""

from __future__ import annotations

import random

from kraken.core.pieces import PieceIndex
from kraken.p2p.bitfield import any_of


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

    def __init__(self, reader_share: float, rng: random.Random) -> None:
        self.availability = Availability()
        self._reader_share = reader_share
        self._rng = rng

    def pick(self, candidates: int, window: int, *, in_order: bool) -> PieceIndex:
        """One of `candidates`, a set that is not empty.

        Args: window, the pieces that readers will want next; in_order, whether the earliest of them is
        taken whenever there is one (a lone reader), or only in a share of the picks (a crowd, which would
        otherwise ask its origins for the same few pieces).
        """
        ahead = candidates & window
        if ahead and (in_order or self._rng.random() < self._reader_share):
            return PieceIndex((ahead & -ahead).bit_length() - 1)
        return any_of(self.availability.rarest(candidates), self._rng)
