"""Processes that die while they publish: what a client was told to be pushed is delivered all the same."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from aiohttp import web
from tests.helpers.events import SOURCE
from tests.helpers.publisher import ENDPOINT_NAME
from tests.helpers.tools import Process, until
from tests.helpers.webhooks import a_receiver, firsts

from kraken.notifications.notifier import Notifier
from kraken.notifications.sender import Observers
from kraken.notifications.settings import EndpointSettings, NotificationSettings
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.runtime.clock import SystemClock

ENOUGH = 50


@pytest.mark.parametrize("webhook_works", [False, True])
async def test_what_was_pushed_before_kill_9_is_delivered_after_a_restart(tmp_path: Path, webhook_works: bool) -> None:
    path, out = tmp_path / "notifications.sqlite", tmp_path / "out"
    works = [webhook_works]

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=200 if works[0] else 503)

    async with a_receiver() as receiver:
        receiver.behaviour = answer
        command = [sys.executable, "-m", "tests.helpers.publisher", str(path), receiver.url]
        child = Process(command, tmp_path / "log", out=out)
        try:
            await until(lambda: out.exists() and out.read_bytes().count(b"\n") >= ENOUGH, "enough was pushed")
        finally:
            child.kill()
        pushed = int(out.read_bytes().rpartition(b"\n")[0].split()[-1])
        works[0] = True
        notifier = Notifier(
            NotificationSettings((EndpointSettings(ENDPOINT_NAME, receiver.url, max_batch=7),), max_events=1_000_000),
            path,
            SOURCE,
            Observers(get_logger("proxy", "proxy-1"), Metrics("proxy", "proxy-1"), SystemClock()),
            random.Random(1),
        )
        await notifier.start()
        await receiver.until(lambda: any(pushed in batch for batch in receiver.taken))
        await notifier.stop()

    delivered = firsts(receiver.taken)
    assert delivered == list(range(len(delivered)))
    assert pushed < len(delivered) <= pushed + 2, "more than the one push that was under way"
