"""The queue on disk: what survives, what goes when it is full, and what cannot be opened."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kraken.core.errors import BadConfig, Unavailable
from kraken.notifications.queue import MAX_BATCH_BYTES, MAX_WAITING, MAX_WAITING_FOR_PULLS, EventQueue


@asynccontextmanager
async def a_queue(path: Path, *endpoints: str, max_events: int = 100) -> AsyncIterator[EventQueue]:
    queue = EventQueue(path, endpoints or ("a",), max_events)
    try:
        yield queue
    finally:
        await queue.close()


async def bodies(queue: EventQueue, endpoint: str = "a", after: int = 0, limit: int = 1000) -> list[bytes]:
    return [queued.body for queued in await queue.head(endpoint, after=after, limit=limit)]


def as_if_killed(path: Path) -> Path:
    """The files as kill -9 would leave them at this moment."""
    image = path.with_name("killed-" + path.name)
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{path}{suffix}", f"{image}{suffix}")
    return image


@contextmanager
def a_busy_thread(queue: EventQueue) -> Iterator[None]:
    """The queue's thread does something else within."""
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


async def test_what_was_appended_is_there_in_order_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "queue.sqlite"
    async with a_queue(path, "a", "b", max_events=1000) as queue:
        await queue.append(["a", "b"], b"1", is_pull=False)
        await asyncio.gather(*(queue.append(["a"], str(n).encode(), is_pull=n % 2 == 0) for n in range(2, 700)))
        image = as_if_killed(path)

    async with a_queue(image, "a", "b", max_events=1000) as again:
        assert await bodies(again) == [str(n).encode() for n in range(1, 700)]
        assert (again.length("a"), again.length("b")) == (699, 1)
        assert await bodies(again, "b") == [b"1"]


async def test_a_batch_is_of_one_endpoint_and_begins_behind_a_number(tmp_path: Path) -> None:
    async with a_queue(tmp_path / "queue.sqlite", "a", "b") as queue:
        for number in range(1, 7):
            await queue.append(["a" if number % 2 else "b"], str(number).encode(), is_pull=False)

        first, second = await queue.head("a", after=0, limit=2)

        assert (first.body, second.body) == (b"1", b"3")
        assert await bodies(queue, after=first.number, limit=5) == [b"3", b"5"]
        assert await bodies(queue, "b") == [b"2", b"4", b"6"]


async def test_a_batch_ends_before_it_is_too_large_but_never_empty(tmp_path: Path) -> None:
    half = b"x" * (MAX_BATCH_BYTES // 2)
    async with a_queue(tmp_path / "queue.sqlite", "a", "b") as queue:
        for body in (half, half, b"y"):
            await queue.append(["a"], body, is_pull=False)
        await queue.append(["b"], 3 * half, is_pull=False)

        assert await bodies(queue) == [half, half]
        assert await bodies(queue, "b") == [3 * half]


async def test_removing_is_of_one_endpoint_and_up_to_a_number(tmp_path: Path) -> None:
    async with a_queue(tmp_path / "queue.sqlite", "a", "b") as queue:
        for number in range(3):
            await queue.append(["a", "b"], str(number).encode(), is_pull=False)
        _, second, _ = await queue.head("a", after=0, limit=3)

        await queue.remove("a", until=second.number)

        assert await bodies(queue) == [b"2"]
        assert await bodies(queue, "b") == [b"0", b"1", b"2"]
        assert (queue.length("a"), queue.length("b")) == (1, 3)


async def test_a_number_is_never_used_again(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite"
    async with a_queue(path) as queue:
        await queue.append(["a"], b"1", is_pull=False)
        (only,) = await queue.head("a", after=0, limit=1)
        await queue.remove("a", until=only.number)
    async with a_queue(path) as queue:
        await queue.append(["a"], b"2", is_pull=False)

        assert await bodies(queue, after=only.number) == [b"2"]


async def test_a_full_queue_gives_up_the_oldest_pull_and_without_pulls_the_oldest(tmp_path: Path) -> None:
    async with a_queue(tmp_path / "queue.sqlite", "a", "b", max_events=3) as queue:
        for body, is_pull in ((b"push1", False), (b"pull1", True), (b"pull2", True)):
            assert await queue.append(["a"], body, is_pull=is_pull) == {}

        assert await queue.append(["a", "b"], b"push2", is_pull=False) == {"a": 1}
        assert await bodies(queue) == [b"push1", b"pull2", b"push2"]
        await queue.append(["a"], b"push3", is_pull=False)
        assert await bodies(queue) == [b"push1", b"push2", b"push3"]
        await queue.append(["a"], b"push4", is_pull=False)
        assert await bodies(queue) == [b"push2", b"push3", b"push4"]
        assert await queue.append(["a"], b"pull3", is_pull=True) == {"a": 1}
        assert await bodies(queue) == [b"push2", b"push3", b"push4"], "a pull displaced a push"


async def test_a_smaller_bound_after_a_restart_holds_from_the_next_event_on(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite"
    async with a_queue(path) as queue:
        for number in range(10):
            await queue.append(["a"], str(number).encode(), is_pull=False)
    async with a_queue(path, max_events=2) as queue:
        assert await queue.append(["a"], b"10", is_pull=False) == {"a": 9}
        assert await bodies(queue) == [b"9", b"10"]


async def test_what_waited_for_an_endpoint_that_is_gone_is_discarded(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite"
    async with a_queue(path, "a", "b") as queue:
        await queue.append(["a", "b"], b"1", is_pull=False)
        await queue.append(["b"], b"2", is_pull=False)
    async with a_queue(path, "a") as queue:
        assert queue.discarded == {"b": 2}
        assert await bodies(queue) == [b"1"]
    async with a_queue(path, "a", "b") as queue:
        assert (queue.discarded, await bodies(queue, "b")) == ({}, [])


@dataclass
class Model:
    """A queue as a list, by the rules and without a disk."""

    bound: int
    waiting: list[tuple[bytes, bool]] = field(default_factory=list)

    def append(self, body: bytes, is_pull: bool) -> int:
        self.waiting.append((body, is_pull))
        if len(self.waiting) <= self.bound:
            return 0
        self.waiting.remove(next((entry for entry in self.waiting if entry[1]), self.waiting[0]))
        return 1


_OPERATIONS = st.lists(st.sampled_from(["push", "pull", "take", "reopen"]), max_size=40)


@settings(max_examples=40)
@given(operations=_OPERATIONS)
async def test_any_sequence_leaves_what_the_rules_leave(
    tmp_path_factory: pytest.TempPathFactory, operations: list[str]
) -> None:
    path = tmp_path_factory.mktemp("model") / "queue.sqlite"
    model = Model(bound=4)
    queue = EventQueue(path, ("a",), model.bound)
    for number, operation in enumerate(operations):
        if operation == "reopen":
            await queue.close()
            queue = EventQueue(path, ("a",), model.bound)
        elif operation == "take":
            taken = await queue.head("a", after=0, limit=2)
            assert [queued.body for queued in taken] == [body for body, _ in model.waiting[:2]]
            if taken:
                await queue.remove("a", until=taken[-1].number)
                del model.waiting[:2]
        else:
            body, is_pull = str(number).encode(), operation == "pull"
            dropped = await queue.append(["a"], body, is_pull=is_pull)
            assert dropped.get("a", 0) == model.append(body, is_pull)
        assert queue.length("a") == len(model.waiting)
    assert await bodies(queue) == [body for body, _ in model.waiting]
    await queue.close()


async def test_a_full_disk_is_told_and_the_lengths_stay_right(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite"
    async with a_queue(path, max_events=10_000) as queue:
        pages = queue._base.execute("PRAGMA page_count").fetchone()[0]
        queue._base.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(Unavailable, match="full"):
            await queue.append(["a"], b"x" * 100_000, is_pull=False)
        assert (queue.length("a"), await bodies(queue)) == (0, [])

        queue._base.execute("PRAGMA max_page_count=100000")
        await queue.append(["a"], b"1", is_pull=False)
        assert (queue.length("a"), await bodies(queue)) == (1, [b"1"])


async def test_what_fails_fails_alone(tmp_path: Path) -> None:
    async with a_queue(tmp_path / "queue.sqlite") as queue:
        queue._base.execute(
            "CREATE TRIGGER no BEFORE INSERT ON events WHEN NEW.body = x'62' BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        with a_busy_thread(queue):
            group = [queue.append(["a"], body, is_pull=False) for body in (b"a", b"b", b"c")]
            head = queue.head("a", after=0, limit=10)
        outcomes = await asyncio.gather(*group, return_exceptions=True)

        assert [str(outcome) for outcome in outcomes] == ["{}", "the notification queue cannot be used: no", "{}"]
        assert [queued.body for queued in await head] == [b"a", b"c"]
        assert queue.length("a") == 2


async def test_with_too_much_to_write_pulls_are_turned_away_first(tmp_path: Path) -> None:
    async with a_queue(tmp_path / "queue.sqlite", max_events=10_000) as queue:
        with a_busy_thread(queue):
            waiting = [queue.append(["a"], b"p", is_pull=True) for _ in range(MAX_WAITING_FOR_PULLS)]
            with pytest.raises(Unavailable, match=str(MAX_WAITING_FOR_PULLS)):
                await queue.append(["a"], b"pull", is_pull=True)
            waiting += [queue.append(["a"], b"p", is_pull=False) for _ in range(MAX_WAITING - MAX_WAITING_FOR_PULLS)]
            with pytest.raises(Unavailable, match=str(MAX_WAITING)):
                await queue.append(["a"], b"push", is_pull=False)
        await asyncio.gather(*waiting)

        assert queue.length("a") == MAX_WAITING


async def test_closing_finishes_what_waits_and_refuses_what_comes(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite"
    queue = EventQueue(path, ("a",), 100)
    waiting = [queue.append(["a"], str(number).encode(), is_pull=True) for number in range(20)]
    await queue.close()
    await queue.close()

    assert await asyncio.gather(*waiting) == [{}] * 20
    with pytest.raises(Unavailable, match="closed"):
        await queue.append(["a"], b"late", is_pull=False)


async def test_one_who_stops_waiting_does_not_stop_the_others(tmp_path: Path) -> None:
    async with a_queue(tmp_path / "queue.sqlite") as queue:
        gone = queue.append(["a"], b"1", is_pull=False)
        gone.cancel()
        await queue.append(["a"], b"2", is_pull=False)

        assert await bodies(queue) == [b"1", b"2"]


async def test_a_file_is_for_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kraken.notifications.queue._BUSY_SECONDS", 0.0)
    path = tmp_path / "queue.sqlite"
    async with a_queue(path):
        with pytest.raises(BadConfig, match=rf"cannot open {path}: another process has it open"):
            EventQueue(path, ("a",), 100)


@pytest.mark.parametrize("begin", [0, 4096])
async def test_a_corrupt_file_is_told_with_what_to_do(tmp_path: Path, begin: int) -> None:
    path = tmp_path / "queue.sqlite"
    async with a_queue(path) as queue:
        await queue.append(["a"], b"1", is_pull=False)
    data = bytearray(path.read_bytes())
    data[begin : begin + 200] = b"\xa5" * 200
    path.write_bytes(data)

    with pytest.raises(BadConfig, match=rf"cannot open {path}: .*; move it away, and the queue begins empty"):
        EventQueue(path, ("a",), 100)


async def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite"
    async with a_queue(path):
        pass
    with sqlite3.connect(path) as base:
        base.execute("PRAGMA user_version=99")
    base.close()

    with pytest.raises(BadConfig, match="another version of Kraken"):
        EventQueue(path, ("a",), 100)


async def test_a_place_where_nothing_can_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(BadConfig, match="cannot open"):
        EventQueue(tmp_path / "file" / "queue.sqlite", ("a",), 100)
