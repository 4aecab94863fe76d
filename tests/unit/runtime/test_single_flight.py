from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from kraken.core.errors import NotFound, Unavailable
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.runtime.single_flight import SingleFlight


class Work:
    """Work that ends when the test says so. `begun` is how often."""

    def __init__(self, outcome: int | Exception = 7) -> None:
        self.outcome = outcome
        self.begun = 0
        self.gate = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        await self.gate.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("test", "flights")


@pytest.fixture
async def flights(metrics: Metrics) -> AsyncIterator[SingleFlight[str, int]]:
    made: SingleFlight[str, int] = SingleFlight("work", get_logger("test", "flights"), metrics)
    yield made
    await made.close()


async def asked(
    flights: SingleFlight[str, int], work: Callable[[], Awaitable[int]], times: int
) -> list[asyncio.Future[int]]:
    """So many callers, which wait when this returns."""
    callers: list[asyncio.Future[int]] = [asyncio.ensure_future(flights.run("a", work)) for _ in range(times)]
    await turned()
    return callers


async def turned() -> None:
    """Let every task run until it waits for something."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_all_who_ask_meanwhile_get_the_result_of_one(flights: SingleFlight[str, int]) -> None:
    work = Work()
    callers = await asked(flights, work, 100)
    work.gate.set()

    assert await asyncio.gather(*callers) == [7] * 100
    assert work.begun == 1
    assert len(flights) == 0


async def test_a_later_caller_begins_anew(flights: SingleFlight[str, int]) -> None:
    work = Work()
    work.gate.set()

    assert [await flights.run("a", work), await flights.run("a", work)] == [7, 7]
    assert work.begun == 2


async def test_a_failure_is_told_to_all_and_kept_for_nobody(flights: SingleFlight[str, int]) -> None:
    work = Work(NotFound("no such thing"))
    callers = await asked(flights, work, 3)
    work.gate.set()

    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NotFound] * 3

    work.outcome = 8
    assert await flights.run("a", work) == 8


async def test_it_goes_on_without_those_who_asked(flights: SingleFlight[str, int]) -> None:
    work = Work()
    caller = asyncio.ensure_future(flights.run("a", work))
    await turned()
    caller.cancel()
    await turned()
    late = flights.join("a", work)
    work.gate.set()

    assert await late == 7
    assert work.begun == 1
    assert caller.cancelled()


async def test_what_nobody_expected_is_told_counted_and_logged(
    flights: SingleFlight[str, int], metrics: Metrics
) -> None:
    work = Work(ZeroDivisionError())
    work.gate.set()

    with pytest.raises(ZeroDivisionError):
        await flights.run("a", work)
    await turned()
    assert metrics.value("kraken_task_crashes_total", task="work") == 1


async def test_closing_tells_those_who_wait(flights: SingleFlight[str, int]) -> None:
    begun = flights.join("a", Work())
    await turned()
    not_begun = flights.join("b", Work())

    await flights.close()

    for flight in (begun, not_begun):
        with pytest.raises(Unavailable, match="shutting down"):
            await flight
    assert len(flights) == 0
