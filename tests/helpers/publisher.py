"""A process that publishes pushes to a webhook, one after the other, until it is killed.

    python -m tests.helpers.publisher FILE URL

A line with its number is printed for each push when, and only when, a client would have been told that it succeeded.
"""

from __future__ import annotations

import asyncio
import random
import sys
from itertools import count
from pathlib import Path

from tests.helpers.events import SOURCE, an_event

from kraken.notifications.notifier import Notifier
from kraken.notifications.sender import Observers
from kraken.notifications.settings import EndpointSettings, NotificationSettings
from kraken.observability.logs import LogSettings, configure, get_logger
from kraken.observability.metrics import Metrics
from kraken.runtime.clock import SystemClock

ENDPOINT_NAME = "hook"


async def publish(path: Path, url: str) -> None:
    endpoint = EndpointSettings(ENDPOINT_NAME, url, max_batch=7, backoff_seconds=0.01, max_backoff_seconds=0.02)
    settings = NotificationSettings((endpoint,), max_events=1_000_000)
    observers = Observers(get_logger("proxy", "proxy-1"), Metrics("proxy", "proxy-1"), SystemClock())
    notifier = Notifier(settings, path, SOURCE, observers, random.Random(1))
    await notifier.start()
    for number in count():
        await notifier.publish(an_event(number))
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    configure(LogSettings())  # to standard error, as in `kraken`
    asyncio.run(publish(Path(sys.argv[1]), sys.argv[2]))
