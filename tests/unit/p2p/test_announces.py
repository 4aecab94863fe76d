"""When swarms are announced."""

from __future__ import annotations

import random

import pytest

from kraken.core.metainfo import SwarmId
from kraken.p2p.announces import (
    ALONG_SECONDS,
    BATCH,
    EARLY_SECONDS,
    GATHER_SECONDS,
    Announce,
    Announcement,
    AnnounceSchedule,
    Answered,
    PeersNeeded,
    SwarmClosed,
    SwarmCompleted,
    SwarmOpened,
    Tick,
    Unanswered,
)

ONE = SwarmId(b"1" * 20)


def a_schedule() -> AnnounceSchedule:
    return AnnounceSchedule(random.Random(1))


def test_a_wanted_swarm_is_announced_at_once() -> None:
    assert a_schedule().handle(SwarmOpened(ONE, wanted=True), 0.0) == [Announce((Announcement(ONE, True, False),))]


def test_what_is_held_at_a_start_is_announced_in_batches() -> None:
    schedule = a_schedule()
    for number in range(BATCH + 1):
        assert schedule.handle(SwarmOpened(SwarmId(number.to_bytes(20)), wanted=False), number * 0.001) == []

    orders = schedule.handle(Tick(), 2.0)

    assert [len(order.announcements) for order in orders] == [BATCH, 1]


def test_what_would_be_announced_in_a_moment_goes_along() -> None:
    schedule, two, three = a_schedule(), SwarmId(b"2" * 20), SwarmId(b"3" * 20)
    for swarm, at in ((ONE, 0.0), (two, ALONG_SECONDS), (three, ALONG_SECONDS + 0.001)):
        schedule.handle(SwarmOpened(swarm, wanted=False), at)

    assert schedule.handle(Tick(), GATHER_SECONDS - 0.0001) == []
    assert [[each.swarm for each in order.announcements] for order in schedule.handle(Tick(), GATHER_SECONDS)] == [
        [ONE, two]
    ]


def test_the_next_announce_is_due_when_the_tracker_says() -> None:
    schedule = a_schedule()
    schedule.handle(SwarmOpened(ONE, wanted=True), 0.0)

    schedule.handle(Answered((ONE,), 10.0), 0.1)

    due = schedule.next_deadline()
    assert due is not None
    assert 9.1 <= due <= 10.1
    assert schedule.handle(Tick(), due - 0.01) == []
    assert len(schedule.handle(Tick(), due)) == 1


def test_a_swarm_with_too_few_peers_asks_early_but_not_in_a_storm() -> None:
    schedule = a_schedule()
    schedule.handle(SwarmOpened(ONE, wanted=True), 0.0)
    schedule.handle(Answered((ONE,), 10.0), 0.05)

    assert schedule.handle(PeersNeeded(ONE), 0.1) == []
    assert schedule.next_deadline() == EARLY_SECONDS
    assert len(schedule.handle(Tick(), EARLY_SECONDS)) == 1


def test_a_swarm_that_stays_short_of_peers_asks_less_and_less_often() -> None:
    schedule = a_schedule()
    schedule.handle(SwarmOpened(ONE, wanted=True), 0.0)
    now, pauses = 0.0, []
    for _ in range(8):
        schedule.handle(Answered((ONE,), 600.0), now)
        schedule.handle(PeersNeeded(ONE), now)
        due = schedule.next_deadline()
        assert due is not None
        assert len(schedule.handle(Tick(), due)) == 1
        pauses.append(due - now)
        now = due

    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0])
    schedule.handle(Answered((ONE,), 600.0), now)
    assert len(schedule.handle(PeersNeeded(ONE), now + 100.0)) == 1, "it had enough for a while"


def test_an_unanswered_announce_is_repeated_with_growing_pauses() -> None:
    schedule = a_schedule()
    schedule.handle(SwarmOpened(ONE, wanted=True), 0.0)
    now, pauses = 0.0, []
    for _ in range(8):
        schedule.handle(Unanswered((ONE,)), now)
        due = schedule.next_deadline()
        assert due is not None
        pauses.append(due - now)
        now = due
        assert len(schedule.handle(Tick(), now)) == 1

    assert pauses[0] == pytest.approx(0.5, rel=0.2)
    assert pauses[-1] == pytest.approx(10.0, rel=0.2)


def test_a_completed_swarm_is_announced_as_no_longer_wanted() -> None:
    schedule = a_schedule()
    schedule.handle(SwarmOpened(ONE, wanted=True), 0.0)
    schedule.handle(Answered((ONE,), 10.0), 0.1)

    schedule.handle(SwarmCompleted(ONE), 1.0)

    assert schedule.handle(Tick(), 1.1) == [Announce((Announcement(ONE, False, False),))]


def test_a_closed_swarm_says_goodbye_once_and_is_forgotten() -> None:
    schedule = a_schedule()
    schedule.handle(SwarmOpened(ONE, wanted=False), 0.0)
    schedule.handle(SwarmClosed(ONE), 1.0)

    assert schedule.handle(Tick(), 1.1) == [Announce((Announcement(ONE, False, True),))]
    schedule.handle(Answered((ONE,), 10.0), 1.2)
    assert schedule.next_deadline() is None


@pytest.mark.parametrize("outcome", [Answered((ONE,), 10.0), Unanswered((ONE,))])
def test_a_goodbye_is_said_although_an_earlier_announce_ends_before_it(outcome: Answered | Unanswered) -> None:
    schedule = a_schedule()
    schedule.handle(SwarmOpened(ONE, wanted=True), 0.0)
    schedule.handle(SwarmClosed(ONE), 1.0)
    schedule.handle(outcome, 1.001)

    assert schedule.handle(Tick(), 1.1) == [Announce((Announcement(ONE, False, True),))]
    assert schedule.next_deadline() is None


def test_a_blob_that_comes_back_at_once_is_announced_and_not_left() -> None:
    schedule = a_schedule()
    schedule.handle(SwarmOpened(ONE, wanted=False), 0.0)
    schedule.handle(SwarmClosed(ONE), 1.0)

    assert schedule.handle(SwarmOpened(ONE, wanted=True), 1.001) == [Announce((Announcement(ONE, True, False),))]
    assert schedule.handle(Tick(), 1.1) == []
