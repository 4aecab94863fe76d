from __future__ import annotations

import asyncio
import io
import json

from kraken.observability.logs import LogFormat, LogSettings, configure, get_logger
from kraken.observability.metrics import Metrics
from kraken.runtime.tasks import Tasks


async def test_a_crash_is_logged_and_counted_and_the_other_tasks_go_on() -> None:
    out = io.StringIO()
    configure(LogSettings(format=LogFormat.JSON), out)
    metrics = Metrics("origin", "origin-1")
    tasks = Tasks(get_logger("origin", "origin-1"), metrics)
    going_on = asyncio.Event()

    async def crash() -> None:
        raise ValueError("no disk")

    async def last() -> None:
        going_on.set()

    await tasks.spawn("probe", crash())
    tasks.spawn("repair", last())
    await going_on.wait()
    await tasks.close()

    line = json.loads(out.getvalue().splitlines()[0])
    assert (line["event"], line["task"], line["error"]) == ("task_crashed", "probe", "no disk")
    assert metrics.value("kraken_task_crashes_total", task="probe") == 1.0


async def test_close_cancels_what_runs_and_waits_for_its_last_word() -> None:
    tasks = Tasks(get_logger("origin", "origin-1"), Metrics("origin", "origin-1"))
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    tasks.spawn("work", work())
    await begun.wait()
    await tasks.close()

    assert ended.is_set()
    assert len(tasks) == 0
