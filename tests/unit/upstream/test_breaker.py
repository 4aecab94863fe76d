from __future__ import annotations

import random

from kraken.upstream.breaker import Breaker, Refusal


def opened(now: float = 100.0) -> Breaker:
    """A breaker that has just opened, for five seconds."""
    breaker = Breaker(failures_to_open=3, open_seconds=5.0)
    for _ in range(3):
        assert breaker.ask(now) is None
        breaker.failed("no route", now)
    return breaker


def test_it_opens_at_the_third_failure_in_a_row() -> None:
    breaker = Breaker(failures_to_open=3, open_seconds=5.0)

    assert [breaker.failed("no route", now=1.0) for _ in range(2)] == [False, False]
    assert not breaker.is_open
    assert breaker.ask(now=1.0) is None
    assert breaker.failed("no route", now=1.0) is True
    assert breaker.is_open
    assert breaker.ask(now=1.0) == Refusal(5.0, "no route")


def test_an_answer_between_them_starts_the_count_anew() -> None:
    breaker = Breaker(failures_to_open=2, open_seconds=5.0)
    breaker.failed("no route", now=1.0)
    assert breaker.answered() is False

    assert breaker.failed("no route", now=2.0) is False
    assert breaker.ask(now=2.0) is None


def test_after_its_rest_one_request_is_the_trial() -> None:
    breaker = opened(now=100.0)

    assert breaker.ask(now=104.9) is not None
    assert breaker.ask(now=105.0) is None
    assert breaker.ask(now=105.0) == Refusal(5.0, "no route")

    assert breaker.answered() is True
    assert [breaker.ask(now=105.0) for _ in range(3)] == [None, None, None]


def test_each_failed_trial_doubles_the_rest_up_to_twelve_times_the_first() -> None:
    breaker, now, rests = opened(now=0.0), 0.0, []
    for _ in range(6):
        refusal = breaker.ask(now)
        assert refusal is not None
        rests.append(refusal.seconds)
        now += refusal.seconds
        assert breaker.ask(now) is None
        assert breaker.failed("still no route", now) is False

    assert rests == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_once_it_was_answered_the_first_rest_is_short_again() -> None:
    breaker = opened(now=0.0)
    breaker.ask(now=5.0)
    breaker.failed("no route", now=5.0)
    breaker.ask(now=15.0)
    breaker.answered()

    for _ in range(3):
        breaker.failed("no route", now=20.0)

    assert breaker.ask(now=20.0) == Refusal(5.0, "no route")


def test_a_request_that_was_sent_before_it_opened_says_nothing_new() -> None:
    breaker = opened(now=100.0)

    assert breaker.failed("no answer in time", now=104.0) is False

    assert breaker.ask(now=104.0) == Refusal(1.0, "no route")


def test_a_trial_that_was_given_up_leaves_its_place_to_the_next() -> None:
    breaker = opened(now=100.0)
    assert breaker.ask(now=105.0) is None
    breaker.gave_up()

    assert breaker.ask(now=105.0) is None


def test_who_asks_for_time_gets_it_to_the_second() -> None:
    breaker = Breaker(failures_to_open=3, open_seconds=5.0)

    assert breaker.told_to_wait(30.0, "429", now=100.0) is False

    assert breaker.ask(now=129.0) == Refusal(1.0, "429")
    assert breaker.ask(now=130.0) is None


def test_a_shorter_wait_does_not_cut_a_longer_one() -> None:
    breaker = Breaker(failures_to_open=3, open_seconds=5.0)
    breaker.told_to_wait(30.0, "429", now=100.0)
    breaker.told_to_wait(1.0, "503", now=100.0)

    assert breaker.ask(now=120.0) == Refusal(10.0, "429")


def test_being_told_to_wait_is_an_answer_to_a_trial() -> None:
    breaker = opened(now=100.0)
    breaker.ask(now=105.0)

    assert breaker.told_to_wait(2.0, "503", now=105.0) is True
    assert not breaker.is_open
    assert breaker.ask(now=107.0) is None


def test_whatever_happens_a_request_is_permitted_again_within_a_minute() -> None:
    chance = random.Random(1)
    breaker, now = Breaker(failures_to_open=3, open_seconds=5.0), 0.0
    for _ in range(5000):
        now += chance.random() * 5
        if breaker.ask(now) is None:
            match chance.randrange(4):
                case 0:
                    breaker.answered()
                case 1:
                    breaker.gave_up()
                case _:
                    breaker.failed("no route", now)
        refusal = breaker.ask(now)
        if refusal is None:
            breaker.gave_up()
        else:
            assert 0 < refusal.seconds < 60.001
            assert breaker.ask(now + refusal.seconds + 0.001) is None
            breaker.gave_up()
