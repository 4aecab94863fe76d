"""What a sender makes of a webhook's answers; the property at the end is the promise of the whole package."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.events import NOON, SOURCE, an_event
from tests.helpers.webhooks import Answer, Killed, ScriptedWebhook

from kraken.notifications.envelope import encode_event
from kraken.notifications.queue import EventQueue
from kraken.notifications.sender import Observers, Sender
from kraken.notifications.settings import EndpointSettings
from kraken.notifications.signature import signature
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.runtime.clock import SystemClock

ENDPOINT = EndpointSettings("hook", "http://hook.example/", max_batch=3)


class NoonClock(SystemClock):
    """Always the same time of the day."""

    def wall(self) -> datetime:
        return NOON


@dataclass
class World:
    """A queue and its sender, whose pauses take no time."""

    queue: EventQueue
    webhook: ScriptedWebhook
    endpoint: EndpointSettings = ENDPOINT
    metrics: Metrics = field(default_factory=lambda: Metrics("proxy", "proxy-1"))
    pauses: list[int] = field(default_factory=list)
    """For each pause, how many failures there had been in a row."""

    def __post_init__(self) -> None:
        observers = Observers(get_logger("proxy", "proxy-1"), self.metrics, NoonClock())
        self.sender = Sender(self.endpoint, self.queue, self.webhook, observers, self._pause)

    async def append(self, *numbers: int) -> None:
        for number in numbers:
            await self.queue.append([self.endpoint.name], encode_event(an_event(number), "id", SOURCE), is_pull=False)

    async def send_all(self) -> None:
        """Run until nothing waits, or until the first failure."""
        self.sender.finish()
        await self.sender.run()

    async def send_until(self, *numbers: int) -> None:
        """Run until these events have been taken, whatever fails before."""
        running = asyncio.create_task(self.sender.run())
        while self.webhook.taken != list(numbers) or self.queue.length(self.endpoint.name):
            assert not running.done()
            await asyncio.sleep(0)
        self.sender.finish()
        await running

    def counted(self, result: str) -> float:
        return self.metrics.value("kraken_notifications_total", endpoint="hook", result=result)

    def _pause(self, failures: int) -> float:
        self.pauses.append(failures)
        return 0.0


@asynccontextmanager
async def a_world(
    tmp_path: Path, script: Sequence[Answer] = (), endpoint: EndpointSettings = ENDPOINT
) -> AsyncIterator[World]:
    queue = EventQueue(tmp_path / "queue.sqlite", (endpoint.name,), 1000)
    try:
        yield World(queue, ScriptedWebhook(list(script)), endpoint)
    finally:
        await queue.close()


async def test_what_waits_is_sent_in_batches_and_then_forgotten(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await world.append(1, 2, 3, 4)

        await world.send_all()

        assert world.webhook.batches == [[1, 2, 3], [4]]
        assert world.queue.length("hook") == 0
        assert world.counted("delivered") == 4


async def test_events_are_sent_when_they_come(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        running = asyncio.create_task(world.sender.run())
        for number in (1, 2):
            await world.append(number)
            world.sender.wake()
            while world.queue.length("hook"):
                await asyncio.sleep(0)
        world.sender.finish()
        await running

        assert world.webhook.batches == [[1], [2]]


async def test_a_redirect_is_as_good_as_success(tmp_path: Path) -> None:
    async with a_world(tmp_path, [Answer.MOVED]) as world:
        await world.append(1)

        await world.send_all()

        assert (world.webhook.batches, world.queue.length("hook")) == ([[1]], 0)


@pytest.mark.parametrize("answer", [Answer.REFUSED, Answer.FAILED, Answer.UNREACHABLE])
async def test_what_is_not_taken_waits_and_is_sent_again(tmp_path: Path, answer: Answer) -> None:
    async with a_world(tmp_path, [answer, answer]) as world:
        await world.append(1, 2)

        await world.send_until(1, 2)

        assert world.webhook.batches == [[1, 2]]
        assert world.pauses == [1, 2]
        assert (world.counted("failed"), world.counted("delivered")) == (4, 2)


async def test_a_success_ends_a_row_of_failures(tmp_path: Path) -> None:
    script = [Answer.FAILED, Answer.FAILED, Answer.TAKEN, Answer.FAILED]
    async with a_world(tmp_path, script) as world:
        await world.append(1, 2, 3, 4)

        await world.send_until(1, 2, 3, 4)

        assert world.pauses == [1, 2, 1]


async def test_one_who_finishes_does_not_wait_for_a_webhook_in_trouble(tmp_path: Path) -> None:
    async with a_world(tmp_path, [Answer.TAKEN, Answer.FAILED]) as world:
        await world.append(1, 2, 3, 4)

        await world.send_all()

        assert world.webhook.batches == [[1, 2, 3]]
        assert (world.queue.length("hook"), world.pauses) == (1, [])


async def test_finishing_ends_a_pause(tmp_path: Path) -> None:
    async with a_world(tmp_path, [Answer.FAILED]) as world:
        world.sender._pause_seconds = lambda _failures: 3600.0
        await world.append(1)
        running = asyncio.create_task(world.sender.run())
        while not world.counted("failed"):
            await asyncio.sleep(0)

        world.sender.finish()
        await running

        assert world.webhook.batches == [[1]], "there is one more try"


async def test_each_post_is_signed_with_the_secret_of_that_moment(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    async with a_world(tmp_path, endpoint=replace(ENDPOINT, secret_file=path)) as world:
        for number, secret in enumerate((b"first", b"second")):
            path.write_bytes(secret + b"\n")
            await world.append(number)
            await world.send_all()

        body = [b'{"events":[' + encode_event(an_event(number), "id", SOURCE) + b"]}" for number in (0, 1)]
        at = int(NOON.timestamp())
        assert [headers["Kraken-Signature"] for headers in world.webhook.headers] == [
            signature(b"first", body[0], at),
            signature(b"second", body[1], at),
        ]


async def test_without_its_secret_nothing_is_sent_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    async with a_world(tmp_path, endpoint=replace(ENDPOINT, secret_file=path)) as world:
        await world.append(1)
        await world.send_all()
        assert (world.webhook.headers, world.queue.length("hook")) == ([], 1)

        path.write_text("secret")
        await world.send_all()
        assert world.webhook.batches == [[1]]


async def test_without_a_secret_there_is_no_signature(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await world.append(1)

        await world.send_all()

        assert world.webhook.headers == [{}]


async def test_what_was_taken_but_not_forgotten_is_not_sent_twice_by_one_process(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await world.append(1)
        world.queue._base.execute("CREATE TRIGGER no BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'no'); END")
        await world.send_all()
        world.queue._base.execute("DROP TRIGGER no")
        await world.append(2)

        await world.send_all()

        assert world.webhook.batches == [[1], [2]]
        assert world.queue.length("hook") == 0


_STEPS = st.lists(
    st.integers(1, 4)  # so many events are published
    | st.just("restart")
    | st.lists(st.sampled_from(Answer), max_size=5),  # senders run, and one webhook has this script
    max_size=12,
)


@settings(max_examples=60)
@given(steps=_STEPS)
async def test_nothing_is_lost_and_order_is_kept_whatever_fails_and_whenever_we_are_killed(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int | str | list[Answer]]
) -> None:
    story = Story(tmp_path_factory.mktemp("story"))
    for step in steps:
        if isinstance(step, int):
            await story.publish(step)
        elif isinstance(step, list):
            await story.send(step)
        else:
            await story.restart()
    await story.send([])

    for webhook in (story.troubled, story.healthy):
        assert webhook.taken == story.published
        assert all(batch == list(range(batch[0], batch[0] + len(batch))) for batch in webhook.batches)
    assert story.queue.length("troubled") == story.queue.length("healthy") == 0
    await story.queue.close()


class Story:
    """Two endpoints, one in trouble, through restarts and kills."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "queue-0.sqlite"
        self.lives = 0
        self.published: list[int] = []
        self.troubled, self.healthy = ScriptedWebhook(), ScriptedWebhook()
        self.queue = self._opened()

    async def publish(self, count: int) -> None:
        for _ in range(count):
            self.published.append(len(self.published))
            body = encode_event(an_event(self.published[-1]), "id", SOURCE)
            await self.queue.append(["troubled", "healthy"], body, is_pull=False)

    async def send(self, script: list[Answer]) -> None:
        """Let both senders run until nothing waits, or the next failure."""
        self.troubled.script = list(script)
        observers = Observers(get_logger("proxy", "proxy-1"), Metrics("proxy", "proxy-1"), SystemClock())
        for name, webhook in (("troubled", self.troubled), ("healthy", self.healthy)):
            sender = Sender(replace(ENDPOINT, name=name), self.queue, webhook, observers, lambda _failures: 0.0)
            sender.finish()
            try:
                await sender.run()
            except Killed:
                await self.kill()
        assert self.healthy.taken == self.published, "another one's trouble held it up"
        self.troubled.script = []

    async def restart(self) -> None:
        await self.queue.close()
        self.queue = self._opened()

    async def kill(self) -> None:
        """Go on with the files as they are at this moment."""
        old, self.lives = self.path, self.lives + 1
        self.path = old.with_name(f"queue-{self.lives}.sqlite")
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{old}{suffix}", f"{self.path}{suffix}")
        await self.queue.close()
        self.queue = self._opened()

    def _opened(self) -> EventQueue:
        return EventQueue(self.path, ("troubled", "healthy"), 1000)
