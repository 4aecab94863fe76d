"""Notifications to webhooks that listen: what arrives, and what becomes of it when they fail, hang or go away."""

from __future__ import annotations

import asyncio
import os
import random
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs
from tests.helpers.events import SOURCE, an_event, events_in, numbers_in
from tests.helpers.ports import free_address
from tests.helpers.tools import output_of, require, until
from tests.helpers.webhooks import Receiver, a_receiver

from kraken.core.errors import BadConfig
from kraken.notifications.envelope import Action, RequestRecord
from kraken.notifications.notifier import Notifier
from kraken.notifications.queue import EventQueue
from kraken.notifications.request import request_record
from kraken.notifications.sender import Observers
from kraken.notifications.settings import EndpointSettings, NotificationSettings
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.runtime.clock import SystemClock

PAGE = Path(__file__).parents[2] / "docs" / "notifications.md"
FAR = 3600.0


class Registry:
    """Who publishes: a notifier with what it is made of."""

    def __init__(
        self, path: Path, *endpoints: EndpointSettings, max_events: int = 100, drain_seconds: float = 10
    ) -> None:
        self.metrics = Metrics("proxy", "proxy-1")
        observers = Observers(get_logger("proxy", "proxy-1"), self.metrics, SystemClock())
        settings = NotificationSettings(endpoints, max_events, drain_seconds)
        self.notifier = Notifier(settings, path / "notifications.sqlite", SOURCE, observers, random.Random(1))

    async def push(self, *numbers: int) -> None:
        for number in numbers:
            await self.notifier.publish(an_event(number))

    def counted(self, result: str, endpoint: str = "hook") -> float:
        return self.metrics.value("kraken_notifications_total", endpoint=endpoint, result=result)

    def waiting(self, endpoint: str = "hook") -> float:
        return self.metrics.value("kraken_notification_queue_events", endpoint=endpoint)

    async def execute(self, sql: str) -> None:
        """Do something to the queue's file, in its thread."""
        await self.queue._submit(lambda: self.queue._base.execute(sql))

    @property
    def queue(self) -> EventQueue:
        assert self.notifier._queue is not None
        return self.notifier._queue


@asynccontextmanager
async def a_registry(path: Path, *endpoints: EndpointSettings, **more: Any) -> AsyncIterator[Registry]:
    registry = Registry(path, *endpoints, **more)
    try:
        await registry.notifier.start()
        yield registry
    finally:
        await registry.notifier.stop()


def hook(receiver: Receiver, **more: Any) -> EndpointSettings:
    """An endpoint whose failures are tried again at once."""
    quick: dict[str, Any] = {
        "name": "hook",
        "timeout_seconds": 10.0,
        "backoff_seconds": 0.01,
        "max_backoff_seconds": 0.02,
    }
    return EndpointSettings(**quick | {"url": receiver.url} | more)


def signed(receiver: Receiver, secret_file: Path) -> EndpointSettings:
    return hook(receiver, secret_file=secret_file)


def is_genuine() -> Callable[[bytes, str, bytes], bool]:
    """The function that the documentation gives to receivers."""
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(snippet, names)
    check: Callable[[bytes, str, bytes], bool] = names["is_genuine"]
    return check


async def test_a_push_arrives_with_its_headers_and_a_signature_that_the_documented_check_accepts(
    tmp_path: Path,
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("correct horse\n")
    async with a_receiver() as receiver:
        endpoint = hook(receiver, secret_file=secret, headers=("Authorization: Bearer a:b", "X-From: kraken"))
        async with a_registry(tmp_path, endpoint) as registry:
            await registry.push(1)
            await receiver.until_taken(1)

    (posted,) = receiver.posted
    assert posted.headers["Content-Type"] == "application/vnd.docker.distribution.events.v2+json"
    assert (posted.headers["Authorization"], posted.headers["X-From"]) == ("Bearer a:b", "kraken")
    assert events_in(posted.body)[0]["source"] == {"addr": "proxy-1:5000", "instanceID": "instance-1"}
    genuine, header = is_genuine(), posted.headers["Kraken-Signature"]
    assert genuine(b"correct horse", header, posted.body)
    assert not genuine(b"wrong horse", header, posted.body)
    assert not genuine(b"correct horse", header, posted.body + b" ")
    assert not genuine(b"correct horse", re.sub(r"t=\d+", "t=1700000000", header), posted.body)
    assert not genuine(b"correct horse", "nonsense", posted.body)


async def test_openssl_makes_the_same_signature(tmp_path: Path) -> None:
    require("openssl")
    (tmp_path / "audit.secret").write_text("correct horse\n")
    async with a_receiver() as receiver, a_registry(tmp_path, signed(receiver, tmp_path / "audit.secret")) as registry:
        await registry.push(1)
        await receiver.until_taken(1)
    (posted,) = receiver.posted
    (tmp_path / "body.json").write_bytes(posted.body)
    at, mac = posted.headers["Kraken-Signature"].removeprefix("t=").split(",sha256=")
    (command,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)

    assert output_of("sh", "-c", f"cd '{tmp_path}'; t={at}; {command}").strip() == mac


async def test_the_documented_event_has_the_fields_of_a_real_one_in_their_order(tmp_path: Path) -> None:
    (text,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    documented = events_in(text.encode())[0]
    async with a_receiver() as receiver, a_registry(tmp_path, hook(receiver)) as registry:
        await registry.notifier.publish(replace(an_event(1), actor="anna"))
        await receiver.until_taken(1)
    (real,) = events_in(receiver.posted[0].body)

    def keys(event: dict[str, Any]) -> list[str]:
        inner = [f"{key}.{name}" for key, value in event.items() if isinstance(value, dict) for name in value]
        return [*event, *inner]

    assert keys(documented) == keys(real)


async def test_a_webhook_that_fails_gets_everything_in_order_when_it_works_again(tmp_path: Path) -> None:
    async with a_receiver() as receiver:
        receiver.behaviour = answering(500, 404, 503)
        async with a_registry(tmp_path, hook(receiver, max_batch=2)) as registry:
            with capture_logs() as logs:
                await registry.push(*range(1, 8))
                await receiver.until_taken(*range(1, 8))
            await until(lambda: registry.waiting() == 0, "nothing waits")

            assert registry.counted("delivered") == 7
            assert registry.counted("failed") == sum(len(numbers_in(posted.body)) for posted in receiver.posted[:3])
    failed = [log for log in logs if log["event"] == "notifications_failed"]
    assert [log["error"] for log in failed] == ["it answered 500", "it answered 404", "it answered 503"]
    assert {log["endpoint"] for log in failed} == {"hook"}
    assert [log["failures"] for log in logs if log["event"] == "notifications_resumed"] == [3]


async def test_a_webhook_that_hangs_is_asked_again_and_holds_up_nobody(tmp_path: Path) -> None:
    hanging, works_again = asyncio.Event(), asyncio.Event()

    async def hang_once(_request: web.Request) -> web.StreamResponse:
        if not hanging.is_set():
            hanging.set()
            await asyncio.sleep(FAR)
        return web.Response(status=200 if works_again.is_set() else 503)

    async with a_receiver() as slow, a_receiver() as healthy:
        slow.behaviour = hang_once
        endpoints = (hook(slow, name="slow", timeout_seconds=0.5), hook(healthy, name="healthy"))
        async with a_registry(tmp_path, *endpoints) as registry:
            with capture_logs() as logs:
                await registry.push(1)
                await hanging.wait()
                await registry.push(2, 3)

                await healthy.until_taken(1, 2, 3)
                assert slow.taken == []
                works_again.set()
                await slow.until_taken(1, 2, 3)
    failed = [log for log in logs if log["event"] == "notifications_failed"]
    assert {log["endpoint"] for log in failed} == {"slow"}
    assert failed[0]["error"] == "no answer within 0.5 s"


async def test_a_redirect_is_taken_and_not_followed(tmp_path: Path) -> None:
    async def elsewhere(request: web.Request) -> web.StreamResponse:
        assert request.path == "/hook"
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with a_receiver() as receiver:
        receiver.behaviour = elsewhere
        async with a_registry(tmp_path, hook(receiver)) as registry:
            await registry.push(1)
            await until(lambda: registry.counted("delivered") == 1, "it counts as delivered")

            assert len(receiver.posted) == 1


async def test_a_webhook_that_is_not_there_gets_everything_when_it_comes(tmp_path: Path) -> None:
    address = free_address()
    async with a_registry(tmp_path, hook(Receiver(address))) as registry:
        with capture_logs() as logs:
            await registry.push(1, 2)
            await until(lambda: registry.counted("failed") > 0, "it was tried")
        assert logs[0]["error"] == "cannot connect: Connection refused"
        async with a_receiver(address) as receiver:
            await receiver.until_taken(1, 2)


async def test_stopping_delivers_what_waits(tmp_path: Path) -> None:
    async with a_receiver() as receiver:
        receiver.behaviour = answering(503)
        endpoint = hook(receiver, backoff_seconds=FAR, max_backoff_seconds=FAR, max_batch=2)
        async with a_registry(tmp_path, endpoint) as registry:
            await registry.push(*range(5))
            await until(lambda: registry.counted("failed") > 0, "it was tried")

    assert receiver.taken == [[0, 1], [2, 3], [4]]


async def test_stopping_does_not_wait_for_a_webhook_that_hangs_and_the_next_start_delivers(tmp_path: Path) -> None:
    async def hang(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(FAR)
        raise AssertionError

    async with a_receiver() as receiver:
        receiver.behaviour = hang
        async with asyncio.timeout(20):
            async with a_registry(tmp_path, hook(receiver, timeout_seconds=300.0), drain_seconds=0.2) as registry:
                await registry.push(1, 2)
                await receiver.until(lambda: len(receiver.posted) == 1)
        receiver.behaviour = answering()
        async with a_registry(tmp_path, hook(receiver)):
            await receiver.until_taken(1, 2)


async def test_a_push_waits_for_the_disk_and_a_pull_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kraken.notifications.notifier._DISK_SECONDS", FAR)
    async with a_receiver() as receiver, a_registry(tmp_path, hook(receiver, ignore_actions=())) as registry:
        with a_busy_disk(registry.queue):
            await registry.notifier.publish(an_event(1, Action.PULL))
            pushing = [
                asyncio.create_task(registry.notifier.publish(an_event(number, action)))
                for number, action in enumerate((Action.PUSH, Action.MOUNT, Action.DELETE), 2)
            ]
            while registry.queue._jobs.qsize() < 4:
                await asyncio.sleep(0)
            assert not any(push.done() for push in pushing)
        await asyncio.wait(pushing)
        assert registry.queue.length("hook") + registry.counted("delivered") == 4


async def test_a_push_goes_on_when_the_disk_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kraken.notifications.notifier._DISK_SECONDS", 0.01)
    async with a_receiver() as receiver, a_registry(tmp_path, hook(receiver)) as registry:
        with a_busy_disk(registry.queue):
            await registry.push(1)
            assert receiver.posted == []
        await receiver.until_taken(1)


async def test_a_push_goes_on_when_its_event_cannot_be_written(tmp_path: Path) -> None:
    async with a_receiver() as receiver, a_registry(tmp_path, hook(receiver)) as registry:
        await registry.execute("CREATE TRIGGER no BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no'); END")
        with capture_logs() as logs:
            await registry.push(1, 2)
        await registry.execute("DROP TRIGGER no")
        await registry.push(3)
        await receiver.until_taken(3)

        assert registry.counted("lost") == 2
    assert [(log["event"], log["events"]) for log in logs] == [("notifications_dropped", 1)], "once a minute is enough"
    assert logs[0]["reason"] == "the notification queue cannot be used: no"


async def test_what_a_full_queue_gives_up_is_counted_and_logged(tmp_path: Path) -> None:
    receiver = Receiver(free_address())
    far = hook(receiver, backoff_seconds=FAR, max_backoff_seconds=FAR)
    async with a_registry(tmp_path, far, max_events=3) as registry:
        with capture_logs() as logs:
            await registry.push(*range(6))

        assert (registry.counted("dropped"), registry.waiting()) == (3, 3)
    (dropped,) = [log for log in logs if log["event"] == "notifications_dropped"]
    assert (dropped["endpoint"], dropped["reason"]) == ("hook", "more than 3 events wait")


async def test_an_endpoint_is_told_only_what_it_wants(tmp_path: Path) -> None:
    async with a_receiver() as all_of_it, a_receiver() as some:
        endpoints = (
            hook(all_of_it, name="all", ignore_actions=()),
            hook(some, name="some", ignore_repositories=("team/secret",)),
        )
        async with a_registry(tmp_path, *endpoints) as registry:
            await registry.notifier.publish(an_event(1, Action.PULL))
            await registry.notifier.publish(an_event(2, repository="team/secret"))
            await registry.notifier.publish(an_event(3, Action.DELETE))
            await some.until(lambda: len(some.posted) == 1)
            await all_of_it.until(lambda: sum(map(len, all_of_it.taken)) == 3)

        assert [event["target"]["repository"] for event in events_in(some.posted[0].body)] == ["team/app"]
        assert [event["action"] for posted in all_of_it.posted for event in events_in(posted.body)] == [
            "pull",
            "push",
            "delete",
        ]


async def test_what_waited_for_an_endpoint_that_is_gone_is_logged(tmp_path: Path) -> None:
    nobody = Receiver(free_address())
    async with a_registry(tmp_path, hook(nobody, name="old", backoff_seconds=FAR, max_backoff_seconds=FAR)) as registry:
        await registry.push(1, 2)
    with capture_logs() as logs:
        async with a_registry(tmp_path, hook(nobody, name="new")):
            pass

    assert [(log["event"], log["endpoint"], log["events"]) for log in logs] == [("notifications_discarded", "old", 2)]


async def test_without_endpoints_there_is_no_file_and_publishing_does_nothing(tmp_path: Path) -> None:
    async with a_registry(tmp_path) as registry:
        await registry.push(1)

    assert os.listdir(tmp_path) == []


async def test_a_secret_that_cannot_be_read_is_told_at_the_start(tmp_path: Path) -> None:
    registry = Registry(tmp_path, hook(Receiver(free_address()), secret_file=tmp_path / "none"))

    with pytest.raises(BadConfig, match="cannot read the secret file"):
        await registry.notifier.start()
    await registry.notifier.stop()


async def test_what_is_published_after_the_stop_is_lost_without_an_error(tmp_path: Path) -> None:
    async with a_receiver() as receiver:
        async with a_registry(tmp_path, hook(receiver)) as registry:
            pass
        await registry.push(1)

    assert registry.counted("lost") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_request_is_told_with_the_address_of_its_connection(host: str) -> None:
    seen: list[RequestRecord] = []

    async def note(request: web.Request) -> web.StreamResponse:
        seen.append(request_record(request))
        return web.Response()

    app = web.Application()
    app.router.add_put("/", note)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_address().port
    await web.TCPSite(runner, host, port).start()
    async with aiohttp.ClientSession() as session:
        headers = {"Host": "registry.example", "User-Agent": "docker/27", "X-Forwarded-For": "1.2.3.4"}
        for _ in range(2):
            await session.put(f"http://{f'[{host}]' if ':' in host else host}:{port}/", headers=headers)
    await runner.cleanup()

    first, second = seen
    bare = replace(first, id="", address="")
    assert bare == RequestRecord("", "", "http", "registry.example", "PUT", "docker/27")
    assert re.fullmatch(r"127\.0\.0\.1:\d+" if "." in host else r"\[::1\]:\d+", first.address)
    assert first.id != second.id


def answering(*statuses: int) -> Callable[[web.Request], Any]:
    """These answers in turn, and success from then on."""
    left = list(statuses)

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=left.pop(0) if left else 200)

    return answer


@contextmanager
def a_busy_disk(queue: EventQueue) -> Iterator[None]:
    """Nothing is written within."""
    begun, may_end = threading.Event(), threading.Event()

    def busy() -> None:
        begun.set()
        may_end.wait()

    queue._jobs.put((busy, Future()))
    begun.wait()
    try:
        yield
    finally:
        may_end.set()
