"""Sets of pieces as integers: bit i is piece i.

Python's integers are the fastest bit sets there are in the language: union, difference and lowest
member of 1,024 pieces take well under a microsecond. On the wire piece 0 is the high bit of the
first byte (BEP 3), so a bitfield is mirrored byte by byte on its way in and out.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from kraken.core.errors import Invalid
from kraken.core.pieces import PieceIndex

_MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def everything(count: int) -> int:
    """The set of all pieces of a blob that has `count`."""
    return (1 << count) - 1


def set_of(pieces: Iterable[PieceIndex]) -> int:
    """The set of these pieces, in which any may come twice."""
    held = 0
    for piece in pieces:
        held |= 1 << piece
    return held


def members(pieces: int) -> Iterator[PieceIndex]:
    """The pieces of a set, in ascending order."""
    while pieces:
        low = pieces & -pieces
        yield PieceIndex(low.bit_length() - 1)
        pieces ^= low


def lowest(pieces: int) -> PieceIndex:
    """The first piece of a set that is not empty."""
    return PieceIndex((pieces & -pieces).bit_length() - 1)


def between(start: int, stop: int) -> int:
    """The set of pieces start <= i < stop; empty when stop <= start."""
    return ((1 << (stop - start)) - 1) << start if stop > start else 0


def every_nth(count: int, first: int, step: int) -> int:
    """The set of the pieces first, first + step, first + 2 * step, ... below `count`."""
    if first >= count:
        return 0
    terms = -(-(count - first) // step)
    return ((1 << step * terms) - 1) // ((1 << step) - 1) << first


def any_of(pieces: int, rng: random.Random) -> PieceIndex:
    """A random piece of a set that is not empty.

    The first member at or after a random position, going round: biased towards members behind gaps,
    which does no harm to a swarm, and ten times cheaper than a fair draw.
    """
    at = int(rng.random() * pieces.bit_length())
    above = pieces >> at
    return PieceIndex(at + lowest(above)) if above else lowest(pieces)


def first_gap(held: int) -> int:
    """How many pieces from the first one on are in the set without a gap."""
    return lowest(~held)


def to_wire(pieces: int, count: int) -> bytes:
    """The bitfield message's payload. Source: BEP 3; spare bits at the end are zero."""
    return pieces.to_bytes(-(-count // 8), "little").translate(_MIRROR)


def from_wire(payload: bytes, count: int) -> int:
    """Admit a bitfield of a peer.

    Raises: Invalid, when its length is not that of `count` pieces, or a spare bit is set.
    """
    if len(payload) != -(-count // 8):
        raise Invalid(f"a bitfield of {len(payload)} bytes for {count} pieces")
    pieces = int.from_bytes(payload.translate(_MIRROR), "little")
    if pieces >> count:
        raise Invalid(f"a bitfield with spare bits set beyond piece {count - 1}")
    return pieces
