"""Limits of bandwidth: the arithmetic, and who is served when."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kraken.runtime.bandwidth import Bandwidth, BandwidthSettings, TokenBucket, Traffic

RATE = 1_000_000.0


def test_without_a_rate_everything_is_granted() -> None:
    bucket = TokenBucket(None, 0.0)
    assert bucket.take(10**12, 0.0) == 10**12
    assert bucket.wait_seconds(0.0) == 0.0


def test_a_bucket_holds_little_however_long_it_was_left_alone() -> None:
    bucket = TokenBucket(RATE, 0.0)
    assert bucket.take(10**9, 3600.0) == 20_000


@given(
    st.floats(65_536, 1e9),
    st.lists(st.tuples(st.floats(0.0001, 0.3), st.integers(1, 8_000_000), st.floats(0, 1)), min_size=1, max_size=60),
)
def test_no_more_is_granted_than_the_rate_allows(rate: float, asked: list[tuple[float, int, float]]) -> None:
    """Whoever asks for how much when, and gives back whatever part of it."""
    bucket, now, moved = TokenBucket(rate, 0.0), 0.0, 0
    for pause, want, part in asked:
        now += pause
        granted = bucket.take(want, now)
        assert 0 <= granted <= want
        back = int(granted * part)
        bucket.spend(-back, now)
        moved += granted - back
        assert moved <= rate * now + 1


@given(st.floats(65_536, 5e7), st.integers(4096, 8_000_000))
@settings(max_examples=50)
def test_who_asks_when_told_to_gets_all_that_the_rate_allows(rate: float, want: int) -> None:
    bucket, now, moved = TokenBucket(rate, 0.0), 0.0, 0
    while now < 1.0:
        granted = bucket.take(want, now)
        moved += granted
        now += 0.0 if granted else max(bucket.wait_seconds(now), 1e-6)
    assert 0.95 * rate - 8192 <= moved <= rate + 1


def test_what_nobody_could_hold_back_is_waited_for_afterwards() -> None:
    bucket = TokenBucket(RATE, 0.0)
    bucket.spend(500_000, 0.0)
    assert bucket.take(1000, 0.4) == 0
    assert bucket.wait_seconds(0.4) == pytest.approx(0.1, abs=0.02)
    assert bucket.take(1000, 0.52) == 1000


async def test_those_who_wait_are_served_in_their_order() -> None:
    link = Bandwidth(10_000_000)
    done: list[int] = []

    async def move(number: int) -> None:
        left = 60_000
        while left:
            left -= await link.acquire(left)
        done.append(number)

    await asyncio.gather(*(move(number) for number in range(6)))
    assert sorted(done) == list(range(6))
    assert done[0] == 0


async def test_a_limit_that_is_taken_away_lets_everybody_go() -> None:
    link = Bandwidth(65_536)
    link.spend(10_000_000)
    waiting = [asyncio.create_task(link.acquire(1_000_000)) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)

    link.set_rate(None)

    assert await asyncio.gather(*waiting) == [1_000_000] * 3
    assert not link.is_limited


async def test_a_limit_can_be_set_where_there_was_none() -> None:
    traffic = Traffic.of(BandwidthSettings())
    assert traffic.sent.take(10**9, lambda: None) == 10**9

    traffic.set_limits(BandwidthSettings(send_bytes_per_second=1_000_000))

    assert 0 < await traffic.sent.acquire(10**9) <= 20_000
    assert traffic.received.take(10**9, lambda: None) == 10**9


async def test_who_is_cancelled_while_it_waits_holds_up_nobody() -> None:
    link = Bandwidth(10_000_000)
    link.spend(300_000)
    first, second = (asyncio.create_task(link.acquire(1000)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()

    assert await second == 1000


async def test_a_paced_stream_loses_nothing() -> None:
    async def chunks() -> object:
        for number in range(5):
            yield bytes([number]) * 30_000

    link = Bandwidth(50_000_000)
    assert b"".join([chunk async for chunk in link.paced(chunks())]) == b"".join(bytes([n]) * 30_000 for n in range(5))  # type: ignore[arg-type]
