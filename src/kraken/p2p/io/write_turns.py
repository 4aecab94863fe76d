"""Whose piece is hashed and written next, while more wait than there are threads.

Pieces that wait hold their buffers, and threads take what comes first; so without an order a hundred pieces of a large
blob would go before the only one of a manifest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from kraken.core.metainfo import SwarmId
from kraken.p2p.turns import Turns


class WriteTurns:
    """`Turns` for tasks. Used on the loop only."""

    def __init__(self, places: int) -> None:
        """Args: places, how many may write at once."""
        self._turns = Turns[int](places)
        self._tickets = count()
        self._waiting: dict[int, asyncio.Event] = {}

    @property
    def waiting(self) -> int:
        """Tasks that wait for their turn."""
        return self._turns.waiting

    @asynccontextmanager
    async def turn(self, swarm: SwarmId, rank: int, size: int) -> AsyncIterator[None]:
        """Wait for a turn, which lasts as long as the block. Args: as of `Turns.asked`."""
        ticket = next(self._tickets)
        mine = self._waiting[ticket] = asyncio.Event()
        try:
            self._let(self._turns.asked(ticket, swarm, rank, size))
            await mine.wait()
            yield
        finally:
            del self._waiting[ticket]
            self._let(self._turns.ended(ticket))

    def _let(self, tickets: list[int]) -> None:
        for ticket in tickets:
            self._waiting[ticket].set()
