"""Who has a place, who waits, and for how long."""

from __future__ import annotations

from collections import Counter, deque

from hypothesis import given, settings
from hypothesis import strategies as st

from kraken.core.metainfo import SwarmId
from kraken.p2p.turns import Turns

BIG, BULKY, TINY = SwarmId(b"b" * 20), SwarmId(b"B" * 20), SwarmId(b"t" * 20)
SMALL, LARGE, LAST = 0, 1, 3


def test_who_finds_a_place_free_has_it_at_once_and_the_next_waits_for_it() -> None:
    turns = Turns[int](2)

    assert turns.asked(1, BIG, LARGE, 100) == [1]
    assert turns.asked(2, BIG, LARGE, 100) == [2]
    assert turns.asked(3, BIG, LARGE, 100) == []
    assert (turns.used, turns.waiting, turns.is_waiting(3)) == (2, 1, True)
    assert turns.ended(1) == [3]
    assert (turns.used, turns.waiting, turns.is_waiting(3)) == (2, 0, False)


def test_who_no_longer_waits_gets_nothing_and_what_has_ended_ends_once() -> None:
    turns = Turns[int](1)
    for ticket in (1, 2, 3):
        turns.asked(ticket, BIG, LARGE, 100)

    assert turns.ended(2) == []
    assert turns.ended(1) == [3]
    assert turns.ended(1) == []
    assert (turns.used, turns.waiting) == (1, 0)


def test_a_lower_rank_goes_first_and_the_last_one_in_eight_times_once() -> None:
    turns = Turns[int](1)
    turns.asked(0, BIG, LARGE, 1)
    for ticket in range(1, 21):
        turns.asked(ticket, BIG, LAST, 1)
    for ticket in range(101, 121):
        turns.asked(ticket, TINY, SMALL, 1)

    served = _one_after_the_other(turns, 0)

    assert [ticket > 100 for ticket in served[:16]] == ([True] * 7 + [False]) * 2


def test_no_rank_is_passed_over_for_ever_not_even_one_in_the_middle() -> None:
    turns = Turns[int](1)
    turns.asked(-1, BIG, LARGE, 1)
    for ticket in range(96):
        turns.asked(ticket, BIG, ticket % 3 + 1, 1)

    served = _one_after_the_other(turns, -1)

    assert Counter(ticket % 3 + 1 for ticket in served[:32]) == {1: 28, 2: 2, 3: 2}


def test_places_are_kept_for_small_blobs_and_for_all_others() -> None:
    turns = Turns[int](4, reserve=1)

    assert [turns.asked(ticket, BIG, LARGE, 9) for ticket in range(4)] == [[0], [1], [2], []]
    assert turns.asked(10, TINY, SMALL, 1) == [10]
    assert turns.ended(10) == []
    assert [turns.ended(ticket) for ticket in (0, 1, 2)] == [[3], [], []]
    assert [turns.asked(ticket, TINY, SMALL, 1) for ticket in (11, 12, 13)] == [[11], [12], [13]]
    assert turns.ended(3) == []
    assert turns.asked(14, TINY, SMALL, 1) == []
    assert turns.asked(15, BIG, LARGE, 1) == [15]


def test_swarms_get_the_same_bytes_whatever_the_size_and_the_number_of_their_requests() -> None:
    turns = Turns[int](2)
    for ticket in range(1000):
        turns.asked(ticket, BIG, LARGE, 256)
    for ticket in range(1000, 1100):
        turns.asked(ticket, BULKY, LARGE, 4096)

    served = _one_after_the_other(turns, 0)[:500]

    given_bytes = Counter[bool]()
    for ticket in served:
        given_bytes[ticket >= 1000] += 4096 if ticket >= 1000 else 256
    assert abs(given_bytes[True] - given_bytes[False]) <= 2 * 4096


def test_a_swarm_that_was_away_does_not_make_up_for_it() -> None:
    turns = Turns[int](1)
    for ticket in range(100):
        turns.asked(ticket, BIG, LARGE, 10)
    for ticket in range(50):
        turns.ended(ticket)

    for ticket in range(1000, 1020):
        turns.asked(ticket, BULKY, LARGE, 10)

    served = _one_after_the_other(turns, 50)[:20]
    assert 9 <= sum(ticket >= 1000 for ticket in served) <= 11


def _one_after_the_other(turns: Turns[int], placed: int) -> list[int]:
    """End the oldest place again and again. Returns: those that got one, in order. Args: placed, who has the first."""
    queue, served = deque([placed]), list[int]()
    while queue:
        now = turns.ended(queue.popleft())
        queue += now
        served += now
    return served


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 5), st.integers(0, 3), st.integers(1, 4096)),
        st.tuples(st.just("end"), st.integers(0, 200), st.just(0), st.just(0)),
    ),
    max_size=200,
)


@settings(deadline=None)
@given(places=st.integers(1, 6), data=st.data(), steps=STEPS)
def test_whatever_the_order_no_place_is_lost_none_is_given_twice_and_nobody_waits_for_ever(
    places: int, data: st.DataObject, steps: list[tuple[str, int, int, int]]
) -> None:
    reserve = data.draw(st.integers(0, (places - 1) // 2))
    turns = Turns[int](places, reserve)
    ranks: dict[int, int] = {}
    waiting, placed = set[int](), set[int]()

    def took(granted: list[int]) -> None:
        assert len(granted) == len(set(granted))
        assert set(granted) <= waiting
        waiting.difference_update(granted)
        placed.update(granted)
        small = sum(ranks[ticket] == SMALL for ticket in placed)
        assert len(placed) <= places
        assert max(small, len(placed) - small) <= places - reserve
        assert (turns.used, turns.waiting) == (len(placed), len(waiting))
        if len(placed) < places:  # nobody waits who could have a place
            assert small == places - reserve or not any(ranks[ticket] == SMALL for ticket in waiting)
            assert len(placed) - small == places - reserve or not any(ranks[ticket] for ticket in waiting)

    for number, (what, who, rank, size) in enumerate(steps):
        if what == "ask":
            ranks[number] = rank
            waiting.add(number)
            took(turns.asked(number, SwarmId(bytes([who]) * 20), rank, size))
        else:
            waiting.discard(who)
            placed.discard(who)
            took(turns.ended(who))
    turns_left = len(waiting) + places
    while waiting:
        turns_left -= 1
        assert turns_left >= 0, "somebody waits for ever"
        oldest = min(placed)
        placed.discard(oldest)
        took(turns.ended(oldest))


@settings(deadline=None)
@given(
    others=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4096)), min_size=1, max_size=30),
    rank=st.integers(0, 3),
    places=st.integers(1, 4),
)
def test_a_swarm_is_served_however_much_comes_meanwhile_from_others(
    others: list[tuple[int, int]], rank: int, places: int
) -> None:
    turns = Turns[int](places)
    running = deque[int]()
    for ticket in range(-places, 0):
        running += turns.asked(ticket, BIG, LARGE, 1)
    turns.asked(0, TINY, rank, 4096)

    for ticket in range(1, 8 * 4 * (len(others) + 2)):
        swarm = ticket % len(others)
        of_rank, size = others[swarm]
        running += turns.asked(ticket, SwarmId(bytes([swarm]) * 20), of_rank, size)
        running += turns.ended(running.popleft())
        if not turns.is_waiting(0):
            return
    raise AssertionError("never served")
