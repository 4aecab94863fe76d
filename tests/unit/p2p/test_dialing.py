"""Whom to dial."""

from __future__ import annotations

import random

from kraken.core.peers import Address, Role
from kraken.p2p.dialing import MAX_CANDIDATES, Candidate, Dial, DialPlan


def agents(*ports: int) -> list[Candidate]:
    return [Candidate(Address("10.0.0.1", port), Role.AGENT) for port in ports]


def dialled(orders: list[Dial]) -> set[int]:
    return {order.candidate.address.port for order in orders}


def test_no_more_agents_are_dialled_at_a_time_than_the_policy_says() -> None:
    plan = DialPlan(2, random.Random(1))
    plan.offered([*agents(1, 2, 3, 4), Candidate(Address("10.0.0.9", 99), Role.ORIGIN)])

    first = plan.dials(room=10)

    assert len(first) == 3
    assert 99 in dialled(first)
    assert plan.dials(room=10) == []


def test_a_refusal_means_the_next_candidate_at_once() -> None:
    plan = DialPlan(1, random.Random(1))
    plan.offered(agents(1, 2))
    (first,) = plan.dials(room=10)

    plan.ended(first.candidate.address)

    (second,) = plan.dials(room=10)
    assert second != first
    plan.ended(second.candidate.address)
    assert plan.exhausted


def test_who_is_connected_is_not_dialled_again() -> None:
    plan = DialPlan(8, random.Random(1))
    plan.offered(agents(1))
    plan.dials(room=10)
    plan.joined(Address("10.0.0.1", 1))

    plan.offered(agents(1))

    assert plan.dials(room=10) == []
    plan.ended(Address("10.0.0.1", 1))
    plan.offered(agents(1))
    assert dialled(plan.dials(room=10)) == {1}


def test_candidates_are_bounded() -> None:
    plan = DialPlan(10_000, random.Random(1))
    plan.offered(agents(*range(1, 1000)))

    assert len(plan.dials(room=10_000)) == MAX_CANDIDATES
