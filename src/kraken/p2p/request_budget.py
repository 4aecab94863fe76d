"""How much the swarms of a host may ask of peers at once, together.

A swarm by itself asks for as much as its own policy says. Several share what comes in a moment, and no less than one of
them would ask for alone: interactive ones first, then those that are prefetched, then those in the background; and
within a class they all get the same, except that nobody gets more than it has a use for. Each may always have one
request, so none stands still. Small blobs are not counted here. Invariants, whatever is wished:

- all allowances together are at most what `Limits` say, unless single requests of each are more already;
- nobody has more than one request while somebody in a class before it has less than it could use.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from kraken.core.metainfo import SwarmId
from kraken.p2p.priority import Priority

_AHEAD_SECONDS = 0.02
"""More than what comes in this time is not asked for at once. What is only waits at peers, and keeps the links of many
busy with what few need now: where each of three layers had its own sixteen requests, 30 hosts with 20 to 300 Mbit/s had
an image at 0.92 to 0.94 of line rate, and with sixteen for all three at 0.96 to 0.97. At 1 GB/s it is 80 pieces of 256
KiB, as many as could be used there. With 15 or 30 ms all that is the same; see decision 13."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a swarm could use: `requests` at once, each of `piece_length` bytes; and what it gets, bytes per second."""

    priority: Priority
    piece_length: int
    requests: int
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What all together may ask for: no more than `max_bytes`, and no less than `least_requests` would be."""

    max_bytes: int
    least_requests: int

    def bytes_at_once(self, wishes: Collection[Wish]) -> int:
        """How many bytes these may share. As long as none has got any, nothing is known of the links."""
        rate = sum(wish.rate for wish in wishes)
        if not rate:
            return self.max_bytes
        least = self.least_requests * max(wish.piece_length for wish in wishes)
        return min(max(round(rate * _AHEAD_SECONDS), least), self.max_bytes)


def share_out(wishes: Mapping[SwarmId, Wish], limits: Limits) -> dict[SwarmId, int | None]:
    """How many requests each swarm may have outstanding; None for as many as it likes.

    Args: wishes, of all swarms that want pieces now.
    """
    if len(wishes) < 2:
        return dict.fromkeys(wishes)
    single = sum(wish.piece_length for wish in wishes.values())
    left = max(limits.bytes_at_once(wishes.values()) - single, 0)
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
