"""How much the swarms of a host may ask of peers at once, together.

A swarm by itself asks for as much as its own policy says. Several share a number of bytes: interactive ones first, then
those that are prefetched, then those in the background; and within a class they all get the same, except that nobody
gets more than it has a use for. Each may always have one request, so none stands still. Small blobs are not counted
here. Invariants, whatever is wished:

- all allowances together are at most `max_bytes`, unless single requests of each are more already;
- nobody has more than one request while somebody in a class before it has less than it could use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kraken.core.metainfo import SwarmId
from kraken.p2p.priority import Priority


@dataclass(frozen=True, slots=True)
class Wish:
    """What a swarm could use: `requests` at once, each of `piece_length` bytes."""

    priority: Priority
    piece_length: int
    requests: int


def share_out(wishes: Mapping[SwarmId, Wish], max_bytes: int) -> dict[SwarmId, int | None]:
    """How many requests each swarm may have outstanding; None for as many as it likes.

    Args: wishes, of all swarms that want pieces now; max_bytes, what they may ask for together.
    """
    if len(wishes) < 2:
        return dict.fromkeys(wishes)
    left = max(max_bytes - sum(wish.piece_length for wish in wishes.values()), 0)
    shares = dict.fromkeys(wishes, 1)
    for priority in Priority:
        of_class = {swarm: wish for swarm, wish in wishes.items() if wish.priority is priority}
        left -= _pour(left, of_class, shares)
    _spread(left, wishes, shares)
    return dict[SwarmId, int | None](shares)


def _pour(water: int, wishes: Mapping[SwarmId, Wish], shares: dict[SwarmId, int]) -> int:
    """Fill all vessels to one level, or to their brim where that is lower. Returns: the bytes that it took."""
    taken = 0
    by_need = sorted(wishes.items(), key=lambda item: (item[1].requests - 1) * item[1].piece_length)
    for at, (swarm, wish) in enumerate(by_need):
        level = (water - taken) // (len(by_need) - at)
        more = max(min(wish.requests - 1, level // wish.piece_length), 0)
        shares[swarm] += more
        taken += more * wish.piece_length
    return taken


def _spread(left: int, wishes: Mapping[SwarmId, Wish], shares: dict[SwarmId, int]) -> None:
    """What nobody has a use for now is given to all: who finds a new peer in a moment may ask it."""
    for swarm, wish in wishes.items():
        shares[swarm] += left // len(wishes) // wish.piece_length
