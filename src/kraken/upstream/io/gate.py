"""Whether an upstream may be asked, and what its answers mean for those who ask next.

An answer counts as such whatever it says; one that does not come, a few times in a row, and the upstream is left
alone for a while, so that a pull fails at once instead of hanging. Who asks us to come back later is left alone
for so long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from kraken.core.errors import KrakenError, NotFound, Unavailable
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.runtime.clock import Clock
from kraken.upstream.breaker import Breaker
from kraken.upstream.errors import Denied, LeftAlone, LoginRefused, Throttled, Unreachable
from kraken.upstream.settings import UpstreamSettings

T = TypeVar("T")

Ask = Callable[[], Awaitable[T]]
Sleep = Callable[[float], Awaitable[object]]


class Gate:
    """Lets requests to one upstream through, counts them, and tells when it goes down or comes up."""

    def __init__(self, settings: UpstreamSettings, clock: Clock, log: Log, metrics: Metrics, sleep: Sleep) -> None:
        self._settings = settings
        self._name = settings.name
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._sleep = sleep
        self._breaker = Breaker(settings.failures_to_open, settings.open_seconds)
        self._places = asyncio.Semaphore(settings.max_connections - settings.max_connections // 2)
        metrics.upstream_up.labels(upstream=self._name).set(1)

    async def question(self, ask: Ask[T]) -> T:
        """The outcome of a small request; after a wait, if the upstream wants a short one.

        Raises: what `ask` raises; LeftAlone; Unavailable, when too many wait for a connection.
        """
        try:
            async with asyncio.timeout(self._settings.answer_seconds):
                await self._places.acquire()
        except TimeoutError as error:  # the upstream had no part in it
            raise Unavailable(f"too many questions wait for {self._name}") from error
        try:
            return await self.request(ask)
        except Throttled as error:
            if error.retry_after > self._settings.throttle_wait_seconds:
                raise
            await self._sleep(error.retry_after)
            return await self.request(ask)
        finally:
            self._places.release()

    async def request(self, ask: Ask[T]) -> T:
        """The outcome of one request within its time, if it may be sent. Raises: what `ask` raises; LeftAlone."""
        refusal = self._breaker.ask(self._clock.now())
        if refusal is not None:
            self._count("not_sent")
            raise LeftAlone(
                f"{self._name} is left alone for another {refusal.seconds:.0f} s: {refusal.reason}",
                retry_after=refusal.seconds,
            )
        try:
            outcome = await self._in_time(ask)
        except KrakenError as error:
            self._count(_result_of(error))
            self._take_note(error)
            raise
        except BaseException:
            self._breaker.gave_up()
            raise
        self._count("ok")
        self._is_up(self._breaker.answered())
        return outcome

    async def _in_time(self, ask: Ask[T]) -> T:
        seconds = self._settings.answer_seconds
        try:
            async with asyncio.timeout(seconds):
                return await ask()
        except TimeoutError as error:
            raise Unreachable(f"{self._name} did not answer within {seconds:g} s") from error

    def _take_note(self, error: KrakenError) -> None:
        now, reason = self._clock.now(), str(error)
        match error:
            case Throttled():
                self._log.warning(
                    Event.UPSTREAM_THROTTLED, upstream=self._name, seconds=error.retry_after, error=reason
                )
                self._is_up(self._breaker.told_to_wait(error.retry_after, reason, now))
            case Unreachable():
                if self._breaker.failed(reason, now):
                    self._metrics.upstream_up.labels(upstream=self._name).set(0)
                    self._log.error(Event.UPSTREAM_DOWN, upstream=self._name, error=reason)
            case LoginRefused():
                self._breaker.gave_up()  # perhaps nothing was sent at all
            case _:
                self._is_up(self._breaker.answered())

    def _is_up(self, is_news: bool) -> None:
        if is_news:
            self._metrics.upstream_up.labels(upstream=self._name).set(1)
            self._log.info(Event.UPSTREAM_UP, upstream=self._name)

    def _count(self, result: str) -> None:
        self._metrics.upstream_requests.labels(upstream=self._name, result=result).inc()


def _result_of(error: KrakenError) -> str:
    """A word for the metric's label."""
    match error:
        case Denied() | LoginRefused():
            return "denied"
        case NotFound():
            return "not_found"
        case Throttled():
            return "throttled"
        case _:
            return "failed"
