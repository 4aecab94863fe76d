"""Versions, and the clock that gives them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.core.errors import Invalid
from kraken.index.versions import HybridClock, Version

NODE, OTHER = "00000000000000aa", "00000000000000bb"

versions = st.builds(Version, st.integers(0, 2**48 - 1), st.integers(0, 2**16 - 1), st.sampled_from([NODE, OTHER]))


@given(versions, versions)
def test_texts_sort_as_versions_do_and_read_the_same(one: Version, other: Version) -> None:
    assert (str(one) < str(other)) == (one < other)
    assert Version.parse(str(one)) == one


@given(st.text(max_size=40))
def test_any_text_gives_a_version_or_our_error(text: str) -> None:
    with pytest.raises(Invalid):
        Version.parse(text)


@pytest.mark.parametrize(
    ("milliseconds", "counter", "node"), [(-1, 0, NODE), (2**48, 0, NODE), (0, 2**16, NODE), (0, 0, "x")]
)
def test_a_version_has_limits(milliseconds: int, counter: int, node: str) -> None:
    with pytest.raises(Invalid):
        Version(milliseconds, counter, node)


@given(st.lists(st.integers(0, 1000) | versions, max_size=50))
def test_every_version_is_greater_than_all_given_and_seen_before(steps: list[int | Version]) -> None:
    clock = HybridClock(NODE)
    greatest = Version(0, 0, NODE)
    for step in steps:
        if isinstance(step, Version):
            clock.observe(step)
            greatest = max(greatest, step)
        elif greatest.milliseconds < 2**48 - 1:
            given_ = clock.next(step)
            assert (given_.milliseconds, given_.counter) > (greatest.milliseconds, greatest.counter)
            greatest = given_


def test_the_clock_follows_the_wall_and_does_not_run_back_with_it() -> None:
    clock = HybridClock(NODE)

    assert clock.next(1000) == Version(1000, 0, NODE)
    assert clock.next(1000) == Version(1000, 1, NODE)
    assert clock.next(900) == Version(1000, 2, NODE)
    assert clock.next(1001) == Version(1001, 0, NODE)


def test_a_full_counter_moves_into_the_milliseconds() -> None:
    clock = HybridClock(NODE)
    clock.observe(Version(1000, 2**16 - 1, OTHER))

    assert clock.next(1000) == Version(1001, 0, NODE)
