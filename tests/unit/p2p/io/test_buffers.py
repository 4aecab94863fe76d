"""Memory for pieces: bounded, reused, and given back whatever still looks into it."""

from __future__ import annotations

from kraken.core.pieces import MIB
from kraken.p2p.io.buffers import BufferPool


def test_memory_that_is_taken_is_bounded_and_who_waits_is_told_when_there_is_some() -> None:
    pool, told = BufferPool(3 * MIB), []
    first = pool.take(2 * MIB)
    assert first is not None
    assert pool.take(2 * MIB) is None

    pool.when_free(lambda: told.append(True))
    pool.give_back(first)

    assert told == [True]
    assert pool.used_bytes == 0
    assert pool.take(2 * MIB) is not None


def test_one_buffer_can_always_be_had() -> None:
    assert BufferPool(1).take(MIB) is not None


def test_memory_goes_back_although_a_slice_of_it_is_still_held() -> None:
    pool = BufferPool(2 * MIB)
    small, large = pool.take(MIB // 4), pool.take(MIB)
    assert small is not None
    assert large is not None
    pool.give_back(small)
    other = pool.take(MIB)  # the idle one is too small for it
    assert other is not None
    place = large.view[:10]

    pool.give_back(large)
    pool.give_back(other)
    pool.trim()

    assert pool.used_bytes == 0
    assert bytes(place) == b"\0" * 10, "whoever was receiving into it when its peer left may still look"
