"""Brings what waits for one endpoint to its webhook, in order, until it has been taken."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kraken.core.errors import KrakenError, Unavailable
from kraken.notifications.envelope import envelope
from kraken.notifications.queue import EventQueue, Queued
from kraken.notifications.secret import read_secret
from kraken.notifications.settings import EndpointSettings
from kraken.notifications.signature import HEADER, signature
from kraken.notifications.webhook import Post
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class Observers:
    """What sees the work: log, metrics and clock."""

    log: Log
    metrics: Metrics
    clock: Clock


class Sender:
    """The one worker of an endpoint: one POST at a time, so that events arrive in order."""

    def __init__(
        self,
        endpoint: EndpointSettings,
        queue: EventQueue,
        post: Post,
        observers: Observers,
        pause_seconds: Callable[[int], float],
    ) -> None:
        """Args: pause_seconds, how long to wait after so many failures in a row."""
        self._endpoint = endpoint
        self._queue = queue
        self._post = post
        self._log = observers.log.bind(endpoint=endpoint.name)
        self._metrics = observers.metrics
        self._clock = observers.clock
        self._pause_seconds = pause_seconds
        self._failures = 0
        self._taken = 0  # the number of the last event that the webhook has taken
        self._awake = asyncio.Event()
        self._finishing = asyncio.Event()

    def wake(self) -> None:
        """Say that there may be something to send."""
        self._awake.set()

    def finish(self) -> None:
        """Let `run` end: when nothing waits any more, or at the next failure."""
        self._finishing.set()
        self._awake.set()

    async def run(self) -> None:
        """Send until `finish`."""
        while True:
            self._awake.clear()
            try:
                sent = await self._send_one_batch()
            except KrakenError as error:
                if self._finishing.is_set():
                    return
                await self._pause(error)
                continue
            if not sent and self._finishing.is_set():
                return
            if not sent:
                await self._awake.wait()

    async def _send_one_batch(self) -> bool:
        """Returns: whether there was one. Raises: KrakenError, when it still waits."""
        endpoint = self._endpoint
        batch = await self._queue.head(endpoint.name, after=self._taken, limit=endpoint.max_batch)
        if not batch:
            return False
        await self._deliver(batch)
        self._taken = batch[-1].number  # should the next line fail, it is not sent twice by this process
        await self._queue.remove(endpoint.name, until=self._taken)
        return True

    async def _deliver(self, batch: Sequence[Queued]) -> None:
        body = envelope([queued.body for queued in batch])
        result = "failed"
        try:
            status = await self._post(body, await self._signed(body))
            if not 200 <= status < 400:
                raise Unavailable(f"it answered {status}")
            result = "delivered"
        finally:
            self._metrics.notifications.labels(endpoint=self._endpoint.name, result=result).inc(len(batch))
        if self._failures:
            self._log.info(Event.NOTIFICATIONS_RESUMED, failures=self._failures)
            self._failures = 0

    async def _signed(self, body: bytes) -> dict[str, str]:
        if self._endpoint.secret_file is None:
            return {}
        secret = await asyncio.to_thread(read_secret, self._endpoint.secret_file)
        return {HEADER: signature(secret, body, int(self._clock.wall().timestamp()))}

    async def _pause(self, error: KrakenError) -> None:
        self._failures += 1
        seconds = self._pause_seconds(self._failures)
        self._log.warning(
            Event.NOTIFICATIONS_FAILED,
            error=str(error),
            failures=self._failures,
            waiting=self._queue.length(self._endpoint.name),
            retry_seconds=round(seconds, 3),
        )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._finishing.wait(), seconds)
