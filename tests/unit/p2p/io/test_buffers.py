"""Memory for pieces: bounded, reused, and given back whatever still looks into it."""

from __future__ import annotations

from kraken.core.pieces import MIB
from kraken.p2p.io.buffers import Buffer, BufferPool
from kraken.p2p.priority import SMALL_RANK, Priority


def test_memory_that_is_taken_is_bounded_and_who_waits_is_told_when_there_is_some() -> None:
    pool, told = BufferPool(3 * MIB), []
    first = pool.take(2 * MIB, SMALL_RANK)
    assert first is not None
    assert pool.take(2 * MIB, SMALL_RANK) is None

    pool.when_free(lambda: told.append(True), SMALL_RANK)
    pool.give_back(first)

    assert told == [True]
    assert pool.used_bytes == 0
    assert pool.take(2 * MIB, SMALL_RANK) is not None


def test_one_buffer_can_always_be_had() -> None:
    assert BufferPool(1).take(MIB, 1) is not None


def test_memory_goes_back_although_a_slice_of_it_is_still_held() -> None:
    pool = BufferPool(2 * MIB)
    small, large = pool.take(MIB // 4, SMALL_RANK), pool.take(MIB, SMALL_RANK)
    assert small is not None
    assert large is not None
    pool.give_back(small)
    other = pool.take(MIB, SMALL_RANK)  # the idle one is too small for it
    assert other is not None
    place = large.view[:10]

    pool.give_back(large)
    pool.give_back(other)
    pool.trim()

    assert pool.used_bytes == 0
    assert bytes(place) == b"\0" * 10, "whoever was receiving into it when its peer left may still look"


class Queue:
    """Those who want memory, and what they got, in order."""

    def __init__(self, pool: BufferPool) -> None:
        self.pool = pool
        self.got: dict[str, Buffer] = {}

    def want(self, name: str, length: int, rank: int) -> None:
        buffer = self.pool.take(length, rank)
        if buffer is None:
            self.pool.when_free(lambda: self.want(name, length, rank), rank)
        else:
            self.got[name] = buffer

    def done(self, *names: str) -> None:
        for name in names:
            self.pool.give_back(self.got.pop(name))


def test_an_eighth_is_kept_for_small_blobs() -> None:
    pool = BufferPool(8 * MIB)

    assert pool.take(6 * MIB, Priority.INTERACTIVE) is not None
    assert pool.take(2 * MIB, Priority.INTERACTIVE) is None
    assert pool.take(2 * MIB, SMALL_RANK) is not None


def test_who_waits_is_served_by_rank_and_then_in_order_and_nobody_comes_in_between() -> None:
    queue = Queue(BufferPool(8 * MIB))
    queue.want("first", 5 * MIB, Priority.INTERACTIVE)
    queue.want("background", 3 * MIB, Priority.BACKGROUND)
    queue.want("long", 6 * MIB, Priority.INTERACTIVE)
    queue.want("short", MIB, Priority.INTERACTIVE)
    queue.want("small", 2 * MIB, SMALL_RANK)
    queue.want("another small", 2 * MIB, SMALL_RANK)
    assert list(queue.got) == ["first", "small"]

    queue.done("small")
    assert list(queue.got) == ["first", "another small"]
    queue.want("late", MIB, Priority.INTERACTIVE)
    queue.done("first")
    assert list(queue.got) == ["another small"]
    queue.done("another small")
    assert list(queue.got) == ["long", "short"]
    queue.done("long")

    assert list(queue.got) == ["short", "late", "background"]
    queue.done("short", "late", "background")
    assert queue.pool.used_bytes == 0
