"""Whose piece is hashed and written next, while more wait than there are threads.

Pieces that wait hold their buffers, and threads take what comes first; so without an order a hundred pieces of a large
blob would go before the only one of a manifest.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from kraken.core.metainfo import SwarmId
from kraken.p2p.turns import Turns


class WriteTurns:
    """`Turns` for tasks. Used on the loop only."""

    def __init__(self, places: int) -> None:
        """Args: places, how many may write at once."""
        self._turns = Turns[_Turn](places)

    @property
    def waiting(self) -> int:
        """Tasks that wait for their turn."""
        return self._turns.waiting

    def turn(self, swarm: SwarmId, rank: int, size: int) -> AbstractAsyncContextManager[None]:
        """Entered, it waits for a turn, which lasts as long as the block. Args: as of `Turns.asked`."""
        return _Turn(self._turns, swarm, rank, size)


class _Turn(AbstractAsyncContextManager[None]):
    """One task's turn. A class, and a future only for those that wait: each piece comes through here."""

    def __init__(self, turns: Turns[_Turn], swarm: SwarmId, rank: int, size: int) -> None:
        self._turns = turns
        self._wanted = swarm, rank, size
        self._given: asyncio.Future[None] | None = None

    async def __aenter__(self) -> None:
        if self._turns.asked(self, *self._wanted):
            return
        self._given = asyncio.get_running_loop().create_future()
        try:
            await self._given
        except asyncio.CancelledError:
            self._end()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for turn in self._turns.ended(self):
            turn.begin()

    def begin(self) -> None:
        """The turn has come; a task that was cancelled in this moment gives it back."""
        assert self._given is not None, "it waits"
        if not self._given.done():
            self._given.set_result(None)
