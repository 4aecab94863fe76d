"""The policy that ships, in crowds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.simulation.crowds import QUICK, figures, ran

from kraken.core.pieces import GIB, KIB, MIB
from kraken.sim.scenario import Faults, Scenario


def test_a_crowd_runs_at_95_percent_of_line_rate() -> None:
    crowd = figures(Scenario(hosts=100, blob=GIB, arrivals=0.2))

    assert crowd.p50 >= 0.95
    assert crowd.p99 >= 0.90
    assert crowd.duplicate_percent <= 0.5
    assert all(copies <= 1.5 for copies in crowd.origin_copies)


@pytest.mark.parametrize("hosts", [3, 10, 30])
def test_origins_upload_at_most_one_and_a_half_copies_each(hosts: int) -> None:
    assert max(figures(replace(QUICK, hosts=hosts)).origin_copies) <= 1.5


def test_who_came_first_is_as_fast_as_who_came_last() -> None:
    crowd = ran(Scenario(hosts=100, blob=GIB, arrivals=0.2))
    ordered = sorted(crowd.agents, key=lambda host: host.began_at)
    first, last = (
        [(host.finished_at or 0.0) - host.began_at for host in part] for part in (ordered[:10], ordered[-10:])
    )

    assert sum(first) < 1.05 * sum(last)


@pytest.mark.parametrize("seed", range(12))
def test_a_tenth_may_die_and_a_tenth_dawdle_and_every_live_host_finishes(seed: int) -> None:
    faults = Faults(deaths=0.1, stragglers=0.1, liars=seed % 2, notice=(0.1, 1.0, 5.0)[seed % 3])
    crowd = Scenario(hosts=30, blob=32 * MIB, piece=512 * KIB, arrivals=(0.0, 0.2)[seed % 2], faults=faults, seed=seed)

    assert ran(replace(crowd, late=0.1)).unfinished() == []


@pytest.mark.parametrize("seed", range(4))
def test_every_live_host_finishes_although_some_die_dawdle_and_lie(seed: int) -> None:
    faults = Faults(deaths=0.03, stragglers=0.03, liars=1)
    crowd = replace(QUICK, hosts=40, faults=faults, seed=seed)

    assert ran(crowd).unfinished() == []
    assert figures(crowd).dead == 1


@pytest.mark.parametrize("seed", [1, 2])
def test_who_dies_or_dawdles_costs_the_others_little(seed: int) -> None:
    crowd = figures(Scenario(hosts=100, blob=GIB, arrivals=0.2, faults=Faults(deaths=0.01, stragglers=0.01), seed=seed))

    assert crowd.p50 >= 0.93
    assert crowd.p99 >= 0.88


def test_liars_cost_honest_hosts_less_than_a_tenth_of_their_speed() -> None:
    crowd = replace(QUICK, hosts=40)
    among_liars = figures(replace(crowd, faults=Faults(liars=2)))

    assert among_liars.unfinished == 0
    assert among_liars.p50 >= 0.9 * figures(crowd).p50
    assert among_liars.p99 >= 0.9 * figures(crowd).p99


def test_hosts_fetch_from_other_zones_only_what_their_own_has_not() -> None:
    runs = [figures(replace(QUICK, hosts=60, zones=2, seed=seed)) for seed in (1, 2, 3)]
    apart, together = runs[0], figures(replace(QUICK, hosts=60))

    assert sum(run.crossing_percent for run in runs) / len(runs) < 15  # half of all if nobody cared
    assert apart.p50 > together.p50 - 0.02
    assert all(copies <= 1.5 for copies in apart.origin_copies)


def test_late_joiners_find_a_crowd_that_serves_them_at_line_rate() -> None:
    crowd = replace(QUICK, late=0.1, late_at=0.2)
    late = [host for host in ran(crowd).agents if host.began_at >= 0.2]

    assert len(late) == 3
    assert all(host.finished_at is not None and host.finished_at - host.began_at < 0.2 for host in late)


def test_a_reader_at_line_rate_need_not_wait_for_the_whole_blob() -> None:
    lag = figures(replace(QUICK, readers=True)).reader_lag_p50

    assert lag is not None
    assert lag <= 0.45


@pytest.mark.parametrize(("hosts", "window"), [(100, 208), (390, 332), (600, 341)])
def test_the_tracker_tells_readers_of_a_crowd_how_many_they_are(hosts: int, window: int) -> None:
    crowd = ran(Scenario(hosts=hosts, blob=GIB, arrivals=0.0, readers=True, horizon=0.01))

    assert {host.engine._picker.window for host in crowd.agents} == {window}


@pytest.mark.parametrize("seed", [1, 2])
def test_a_crowd_whose_clients_read_four_ranges_at_once_is_as_fast_as_others(seed: int) -> None:
    crowd = Scenario(hosts=60, blob=128 * MIB, arrivals=0.05, readers=True, seed=seed)
    one, four = figures(crowd), figures(replace(crowd, ranges=4))

    assert four.p50 >= 0.95 * one.p50
    assert max(four.origin_copies) <= 1.5
    assert four.unfinished == 0


def test_a_small_blob_takes_tens_of_milliseconds() -> None:
    assert figures(Scenario(hosts=100, blob=20 * MIB, arrivals=0.0)).p99_seconds <= 0.050
