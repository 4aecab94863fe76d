"""Work that is done once for all who want its result at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from kraken.core.errors import KrakenError, Unavailable
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.runtime.tasks import Tasks

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Work by key. Who asks while it is under way joins it, and all are told how it ended; nothing is kept.

    It goes on when those who asked go away. What nobody expected is logged and counted under `name`, as a
    background task's crash is.
    """

    def __init__(self, name: str, log: Log, metrics: Metrics) -> None:
        self._name = name
        self._tasks = Tasks(log, metrics)
        self._flights: dict[K, asyncio.Future[V]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def join(self, key: K, work: Callable[[], Awaitable[V]]) -> asyncio.Future[V]:
        """How the work for `key` will end; it begins now unless it is under way.

        Others hold the same future: wait for it with `asyncio.wait`, or behind a shield.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.get_running_loop().create_future()
            self._tasks.spawn(self._name, self._fly(key, work, flight))
        return flight

    async def run(self, key: K, work: Callable[[], Awaitable[V]]) -> V:
        """The result of the work for `key`. Raises: what the work raises; Unavailable, when we are closed first."""
        return await asyncio.shield(self.join(key, work))

    async def close(self) -> None:
        """Break off what is under way; those who wait are told Unavailable."""
        await self._tasks.close()
        for key in list(self._flights):  # those that had not begun
            _fail(self._flights.pop(key), Unavailable("this component is shutting down"))

    async def _fly(self, key: K, work: Callable[[], Awaitable[V]], flight: asyncio.Future[V]) -> None:
        try:
            result = await work()
        except KrakenError as error:
            _fail(flight, error)
        except Exception as error:
            _fail(flight, error)
            raise
        else:
            flight.set_result(result)
        finally:
            del self._flights[key]
            _fail(flight, Unavailable("this component is shutting down"))


def _fail(flight: asyncio.Future[V], error: Exception) -> None:
    if not flight.done():
        flight.set_exception(error)
        flight.exception()  # seen: those who asked may all be gone
