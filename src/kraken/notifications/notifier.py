"""What a component tells its events to.

A push never fails, nor waits without end, for the sake of a notification: what cannot be queued is counted and logged.
"""

from __future__ import annotations

import asyncio
import functools
import random
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import aiohttp

from kraken.core.errors import KrakenError
from kraken.notifications.backoff import pause_seconds
from kraken.notifications.envelope import Action, RegistryEvent, Source, encode_event
from kraken.notifications.filters import Filter
from kraken.notifications.queue import EventQueue
from kraken.notifications.secret import read_secret
from kraken.notifications.sender import Observers, Sender
from kraken.notifications.settings import EndpointSettings, NotificationSettings
from kraken.notifications.webhook import Webhook, new_session
from kraken.observability.events import Event
from kraken.runtime.tasks import Tasks

_DISK_SECONDS = 10.0
"""A disk that takes longer for one event does not hold up the push any further; the event is written when it is."""

_COMPLAINT_SECONDS = 60.0
"""Dropped events are logged at most this often for each endpoint; the metric has them all."""


class Notifier:
    """Queues events for every endpoint that wants them, and delivers them in the background."""

    def __init__(
        self, settings: NotificationSettings, path: Path, source: Source, observers: Observers, chance: random.Random
    ) -> None:
        """Args: path, of the queue's file; without endpoints it is not made. source, who tells."""
        self._settings = settings
        self._path = path
        self._source = source
        self._observers = observers
        self._chance = chance
        self._filters = {endpoint.name: Filter(endpoint) for endpoint in settings.endpoints}
        self._complaints = {name: _Complaints() for name in self._filters}
        self._tasks = Tasks(observers.log, observers.metrics)
        self._running: list[asyncio.Task[None]] = []
        self._senders: dict[str, Sender] = {}
        self._session: aiohttp.ClientSession | None = None
        self._queue: EventQueue | None = None

    async def start(self) -> None:
        """Open the queue and go on with what waits in it.

        Raises: BadConfig, when the file or a secret cannot be used.
        """
        if not self._filters:
            return
        await asyncio.to_thread(self._check_secrets)
        queue = await asyncio.to_thread(EventQueue, self._path, list(self._filters), self._settings.max_events)
        self._queue = queue
        for name, count in queue.discarded.items():
            self._observers.log.warning(Event.NOTIFICATIONS_DISCARDED, endpoint=name, events=count)
        self._session = new_session()
        for endpoint in self._settings.endpoints:
            self._start_sender(endpoint, queue, self._session)

    async def publish(self, event: RegistryEvent) -> None:
        """Let an event wait for the endpoints that want it; never raises for lack of room.

        It is durable when this returns. A pull is not: it is on its way to the disk, and the first to be given up.
        """
        names = [name for name, accepts in self._filters.items() if accepts.wants(event)]
        if not names or self._queue is None:
            return
        body = encode_event(event, str(uuid.uuid4()), self._source)
        appended = self._queue.append(names, body, is_pull=event.action is Action.PULL)
        appended.add_done_callback(functools.partial(self._appended, names))
        if event.action is not Action.PULL:
            await asyncio.wait([appended], timeout=_DISK_SECONDS)

    async def stop(self) -> None:
        """Deliver what waits, for as long as the settings say; the rest stays on disk."""
        for sender in self._senders.values():
            sender.finish()
        if self._running:
            await asyncio.wait(self._running, timeout=self._settings.drain_seconds)
        await self._tasks.close()
        if self._session is not None:
            await self._session.close()
        if self._queue is not None:
            await self._queue.close()

    def _check_secrets(self) -> None:
        for endpoint in self._settings.endpoints:
            if endpoint.secret_file is not None:
                read_secret(endpoint.secret_file)

    def _start_sender(self, endpoint: EndpointSettings, queue: EventQueue, session: aiohttp.ClientSession) -> None:
        pause = functools.partial(pause_seconds, endpoint, self._chance)
        sender = Sender(endpoint, queue, Webhook(endpoint, session), self._observers, pause)
        self._senders[endpoint.name] = sender
        self._running.append(self._tasks.spawn("notifications", sender.run()))
        waiting = self._observers.metrics.notification_queue_events.labels(endpoint=endpoint.name)
        waiting.set_function(functools.partial(queue.length, endpoint.name))

    def _appended(self, names: Sequence[str], appended: asyncio.Future[dict[str, int]]) -> None:
        if appended.cancelled():
            return  # the push was cut off; its event is queued all the same
        error = appended.exception()
        if isinstance(error, KrakenError):
            self._gave_up("lost", dict.fromkeys(names, 1), str(error))
            return
        for name in names:
            self._senders[name].wake()
        self._gave_up("dropped", appended.result(), f"more than {self._settings.max_events} events wait")

    def _gave_up(self, result: str, counts: Mapping[str, int], reason: str) -> None:
        for name, count in counts.items():
            self._observers.metrics.notifications.labels(endpoint=name, result=result).inc(count)
            due = self._complaints[name].add(count, self._observers.clock.now())
            if due:
                self._observers.log.warning(Event.NOTIFICATIONS_DROPPED, endpoint=name, events=due, reason=reason)


class _Complaints:
    """Adds up what is to be complained about, so that it is not done for each single one."""

    def __init__(self) -> None:
        self._count = 0
        self._quiet_until = float("-inf")

    def add(self, count: int, now: float) -> int:
        """How many to complain about now: 0 while it is too early."""
        self._count += count
        if now < self._quiet_until:
            return 0
        self._quiet_until = now + _COMPLAINT_SECONDS
        due, self._count = self._count, 0
        return due
