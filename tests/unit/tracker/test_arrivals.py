"""The peers of a swarm in the order in which they joined."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kraken.tracker.arrivals import Arrivals


def arrivals_of(size: int, seed: int = 1) -> Arrivals:
    arrivals = Arrivals(random.Random(seed))
    for number in range(size):
        arrivals.add(b"peer %d" % number)
    return arrivals


def test_who_joins_is_introduced_to_those_who_joined_just_before_and_just_after() -> None:
    arrivals = arrivals_of(1600)

    met = Counter(peer for _ in range(1000) for peer in arrivals.together(8, b"peer 1450"))

    assert set(met) <= {b"peer %d" % number for number in range(1350, 1551)}
    assert len(met) > 190  # of 200
    assert max(met.values()) < 3 * 8000 / 200


def test_a_stranger_and_who_is_alone_meet_nobody() -> None:
    assert not arrivals_of(1600).together(8, b"a stranger")
    assert not arrivals_of(1).together(8, b"peer 0")


def test_the_last_to_come_meets_as_many_as_the_others() -> None:
    assert len(arrivals_of(1600).together(8, b"peer 1599")) >= 7  # itself may have been one of the eight


class AnyChanges(RuleBasedStateMachine):
    """Against a plain list."""

    numbers = st.integers(0, 99).map(lambda number: b"peer %d" % number)

    @initialize(seed=st.integers(0, 9))
    def begin(self, seed: int) -> None:
        self.arrivals = Arrivals(random.Random(seed))
        self.model: list[bytes] = []

    @rule(first=st.integers(0, 99), count=st.integers(1, 100))
    def many_join(self, first: int, count: int) -> None:
        for number in range(first, min(first + count, 100)):
            if b"peer %d" % number not in self.model:
                self.model.append(b"peer %d" % number)
                self.arrivals.add(b"peer %d" % number)

    @rule(peer=numbers)
    def one_leaves(self, peer: bytes) -> None:
        if peer in self.model:
            self.model.remove(peer)
            self.arrivals.remove(peer)

    @rule(peer=numbers, count=st.integers(0, 20))
    def one_asks(self, peer: bytes, count: int) -> None:
        together = self.arrivals.together(count, peer)
        assert len(together) == len(set(together)) <= count
        assert set(together) <= set(self.model) - {peer}

    @invariant()
    def a_small_swarm_joined_together(self) -> None:
        if 20 <= len(self.model) <= 30:
            assert self.arrivals.together(5, self.model[-1])


TestAnyChanges = AnyChanges.TestCase
