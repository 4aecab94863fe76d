"""Who goes next, when the swarms of a host want more of something at once than there is.

A node has one of these for its upload slots, and one for what may be written at once. Invariants, whatever the order
of calls:

- no more than `places` tickets have a place; those of the first rank, and those of all others together, have no more
  than `places - reserve`, so that neither finds all places held by the other, however slow it is;
- nobody waits who could have a place;
- a ticket gets a place at most once, and gives it back exactly once.

Among those that wait the lower rank goes first, within a rank the swarm that was given the fewest bytes, within a swarm
who came first. So a swarm with a thousand requests gets no more than a swarm with ten, and what it asks for in large
pieces counts as much as what another asks for in small ones. Nobody waits for ever: one turn in eight goes to the
rank that had none for the longest time.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from kraken.core.metainfo import SwarmId

T = TypeVar("T", bound=Hashable)

_OTHER_RANKS_TURN = 8
"""Of so many turns that several ranks wait for, one does not go to the first of them: an eighth is felt by nobody, and
enough that what waits there does not hold its memory, or its peer, for ever."""

_REMEMBERED_SWARMS = 1024
"""Swarms whose account is kept while they want nothing. What is forgotten with an account is less than one span."""


@dataclass(frozen=True, slots=True)
class _Ticket:
    """What a ticket stands for: a place for `size` bytes of a swarm."""

    swarm: SwarmId
    rank: int
    size: int


class _Rank(Generic[T]):
    """Those that wait in one rank: start-time fair queueing (Goyal, Vin, Cheng 1996).

    An account is the bytes that a swarm was given since it began to compete. One that comes back begins at `level`,
    where whoever was served last began, so nobody saves up turns by not asking.
    """

    def __init__(self) -> None:
        self._queues: dict[SwarmId, deque[T]] = {}
        self._accounts: dict[SwarmId, int] = {}
        self._level = 0
        self._starts: list[tuple[int, int, SwarmId]] = []  # a heap; of each swarm that waits, and outdated ones
        self._current: dict[SwarmId, tuple[int, int, SwarmId]] = {}
        self._sequence = 0

    def __bool__(self) -> bool:
        return bool(self._queues)

    def add(self, swarm: SwarmId, ticket: T) -> None:
        if swarm not in self._queues:
            self._queues[swarm] = deque()
            self._compete(swarm)
        self._queues[swarm].append(ticket)

    def first(self) -> T:
        """Whose turn it is. Only while somebody waits."""
        while self._current.get(self._starts[0][2]) != self._starts[0]:
            heapq.heappop(self._starts)
        return self._queues[self._starts[0][2]][0]

    def served(self, swarm: SwarmId, ticket: T, size: int) -> None:
        """The ticket, which was the first, has its place."""
        self._charge(swarm, self._current[swarm][0], size)
        self.remove(swarm, ticket)
        if swarm in self._queues:
            self._compete(swarm)

    def served_at_once(self, swarm: SwarmId, size: int) -> None:
        """The swarm got a place that nobody waited for."""
        self._charge(swarm, max(self._accounts.get(swarm, 0), self._level), size)

    def _charge(self, swarm: SwarmId, start: int, size: int) -> None:
        self._level = start
        self._accounts[swarm] = start + size
        if len(self._accounts) > _REMEMBERED_SWARMS + len(self._queues):
            self._accounts = {each: given for each, given in self._accounts.items() if each in self._queues}

    def remove(self, swarm: SwarmId, ticket: T) -> None:
        self._queues[swarm].remove(ticket)
        if not self._queues[swarm]:
            del self._queues[swarm], self._current[swarm]

    def _compete(self, swarm: SwarmId) -> None:
        self._sequence += 1
        entry = self._current[swarm] = (max(self._accounts.get(swarm, 0), self._level), self._sequence, swarm)
        heapq.heappush(self._starts, entry)
        if len(self._starts) > 4 * len(self._current) + 64:
            self._starts = sorted(self._current.values())


class Turns(Generic[T]):
    """A fixed number of places, and those that wait for one."""

    def __init__(self, places: int, reserve: int = 0) -> None:
        """Args: reserve, the places that are kept free for the first rank, and as many for the others."""
        assert 0 <= reserve < places, f"{reserve} of {places} places are reserved"
        self._places = places
        self._reserve = reserve
        self._ranks: dict[int, _Rank[T]] = {}
        self._waiting: dict[T, _Ticket] = {}
        self._placed: dict[T, _Ticket] = {}
        self._others = 0  # places of ranks other than the first
        self._turn = 0
        self._had_turn: dict[int, int] = {}  # by rank: its last turn, of those that several ranks waited for

    @property
    def used(self) -> int:
        """Tickets that have a place."""
        return len(self._placed)

    @property
    def waiting(self) -> int:
        """Tickets that wait for one."""
        return len(self._waiting)

    def asked(self, ticket: T, swarm: SwarmId, rank: int, size: int) -> list[T]:
        """Somebody wants a place.

        Args: ticket, not in use; rank, 0 for the first, others after it; size, the bytes that it is for, 1 or more.
        Returns: who has a place now: this ticket, or nobody.
        """
        assert ticket not in self._waiting, f"{ticket} asks twice"
        assert ticket not in self._placed, f"{ticket} has a place already"
        entry = _Ticket(swarm, rank, size)
        if rank not in self._ranks:
            self._ranks[rank] = _Rank()
        if self._has_place(rank):  # then nobody waits who could take it
            self._ranks[rank].served_at_once(swarm, size)
            self._place(ticket, entry)
            return [ticket]
        self._waiting[ticket] = entry
        self._ranks[rank].add(swarm, ticket)
        return []

    def ended(self, ticket: T) -> list[T]:
        """A ticket gives its place back, or no longer waits for one; one that is unknown has done so before.

        Returns: those that have a place now.
        """
        placed = self._placed.pop(ticket, None)
        if placed is not None:
            self._others -= placed.rank > 0
        elif (waiting := self._waiting.pop(ticket, None)) is not None:
            self._ranks[waiting.rank].remove(waiting.swarm, ticket)
        return self._fill()

    def drop_waiting(self) -> list[T]:
        """Nobody waits any longer, and no place is free by that. Returns: those that did."""
        dropped = list(self._waiting)
        for ticket in dropped:
            waiting = self._waiting.pop(ticket)
            self._ranks[waiting.rank].remove(waiting.swarm, ticket)
        return dropped

    def is_waiting(self, ticket: T) -> bool:
        """Whether the ticket has asked, and has not got its place yet."""
        return ticket in self._waiting

    def _fill(self) -> list[T]:
        placed: list[T] = []
        while self._waiting:
            rank = self._next_rank()
            if rank is None:
                break
            ticket = self._ranks[rank].first()
            entry = self._waiting.pop(ticket)
            self._ranks[rank].served(entry.swarm, ticket, entry.size)
            self._place(ticket, entry)
            placed.append(ticket)
        return placed

    def _place(self, ticket: T, entry: _Ticket) -> None:
        self._placed[ticket] = entry
        self._others += entry.rank > 0

    def _has_place(self, rank: int) -> bool:
        of_its_kind = self._others if rank > 0 else len(self._placed) - self._others
        return len(self._placed) < self._places and of_its_kind < self._places - self._reserve

    def _next_rank(self) -> int | None:
        """The rank whose turn it is; None when those that wait may have no further place."""
        ranks = [rank for rank, each in self._ranks.items() if each and self._has_place(rank)]
        if len(ranks) < 2:
            return ranks[0] if ranks else None
        self._turn += 1
        rank = min(ranks)
        if self._turn % _OTHER_RANKS_TURN == 0:
            rank = min(ranks, key=lambda each: self._had_turn.get(each, 0))
        self._had_turn[rank] = self._turn
        return rank
