"""Background tasks that cannot fail in silence, nor outlive their owner."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics


class Tasks:
    """The background tasks of one owner. A crash is logged and counted; `close` ends them all."""

    def __init__(self, log: Log, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, name: str, work: Coroutine[Any, Any, object]) -> asyncio.Task[None]:
        """Run `work` in the background.

        Args: name, from a closed set: it becomes a metric label.
        """
        task = asyncio.create_task(self._watch(name, work), name=name)
        self._running.add(task)
        task.add_done_callback(partial(self._ended, work))
        return task

    async def close(self) -> None:
        """Cancel every task, and wait until the last one has ended."""
        while self._running:
            waiting = list(self._running)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            self._running.difference_update(waiting)  # their own callbacks run later, when the loop turns

    def _ended(self, work: Coroutine[Any, Any, object], task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        work.close()  # in case it was cancelled before it began

    async def _watch(self, name: str, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - the one place that catches what no task expected
            self._metrics.task_crashes.labels(task=name).inc()
            self._log.error(Event.TASK_CRASHED, task=name, error=str(error), exc_info=error)
