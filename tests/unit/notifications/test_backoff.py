from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from kraken.notifications.backoff import pause_seconds
from kraken.notifications.settings import EndpointSettings

ENDPOINT = EndpointSettings("hook", "http://hook.example/", threshold=3, backoff_seconds=2.0, max_backoff_seconds=30.0)


class Least(random.Random):
    """Chance that always takes the most away."""

    def random(self) -> float:
        return 0.0


class Most(random.Random):
    def random(self) -> float:
        return 1.0


def test_the_pause_doubles_behind_the_threshold_up_to_its_cap() -> None:
    longest = [pause_seconds(ENDPOINT, Most(), failures) for failures in range(1, 10)]

    assert longest == [2.0, 2.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_chance_takes_at_most_half_of_it() -> None:
    assert pause_seconds(ENDPOINT, Least(), 4) == 2.0


@given(failures=st.integers(1, 10**9), seed=st.integers())
def test_after_any_number_of_failures_there_is_a_pause_within_the_bounds(failures: int, seed: int) -> None:
    assert 1.0 <= pause_seconds(ENDPOINT, random.Random(seed), failures) <= 30.0
