"""Pieces that wait to be hashed and written, and whose turn it is, while more wait than there are threads.

Pieces that wait hold their buffers, and threads take what comes first; so without an order a hundred pieces of a large
blob would go before the only one of a manifest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from kraken.core.metainfo import SwarmId
from kraken.p2p.turns import Turns


@dataclass(frozen=True, slots=True, eq=False)
class Write:
    """A piece to be written. `begin` starts it, and gives its outcome; `ended` is told of that outcome.

    A write that is dropped before its turn has a cancelled one.
    """

    begin: Callable[[], asyncio.Future[bool]]
    ended: Callable[[asyncio.Future[bool]], None]


class WriteTurns:
    """`Turns` for writes. Used on the loop only; without tasks, for each piece comes through here."""

    def __init__(self, places: int) -> None:
        """Args: places, how many may write at once."""
        self._turns = Turns[Write](places)
        self._under_way: set[asyncio.Future[bool]] = set()

    @property
    def waiting(self) -> int:
        """Writes that wait for their turn."""
        return self._turns.waiting

    def add(self, write: Write, swarm: SwarmId, rank: int, size: int) -> None:
        """Have a piece written when its turn comes, perhaps at once. Args: as of `Turns.asked`."""
        self._begin(self._turns.asked(write, swarm, rank, size))

    async def close(self) -> None:
        """Drop what waits, and wait until what has begun has ended."""
        for write in self._turns.drop_waiting():
            outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            outcome.cancel()
            write.ended(outcome)
        while self._under_way:
            await asyncio.wait(self._under_way)

    def _begin(self, writes: list[Write]) -> None:
        for write in writes:
            outcome = write.begin()
            self._under_way.add(outcome)
            outcome.add_done_callback(partial(self._ended, write))

    def _ended(self, write: Write, outcome: asyncio.Future[bool]) -> None:
        self._under_way.discard(outcome)
        self._begin(self._turns.ended(write))
        write.ended(outcome)
