from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kraken.cluster.health import (
    HealthEvent,
    HealthTable,
    HostAnswered,
    HostCameUp,
    HostFailed,
    HostWentDown,
    Probe,
    Tick,
)
from kraken.cluster.settings import ClusterSettings
from kraken.core.peers import Address

ANNA, BERT, STRANGER = Address("anna", 1), Address("bert", 1), Address("stranger", 1)
SETTINGS = ClusterSettings(probe_seconds=5.0, retry_seconds=1.0, failures_to_down=2)


def a_table() -> HealthTable:
    return HealthTable([ANNA, BERT], SETTINGS, now=100.0)


def test_a_host_never_heard_of_counts_as_up_but_not_as_heard() -> None:
    table = a_table()

    assert (table.is_up(ANNA), table.is_heard(ANNA)) == (True, False)
    assert (table.is_up(STRANGER), table.is_heard(STRANGER)) == (False, False)


def test_all_hosts_are_probed_at_once_and_each_only_once_at_a_time() -> None:
    table = a_table()

    assert table.next_deadline() == 100.0
    assert table.handle(Tick(), 100.0) == [Probe(ANNA), Probe(BERT)]
    assert table.next_deadline() is None
    assert table.handle(Tick(), 200.0) == []


def test_a_host_goes_down_with_the_second_failure_in_a_row_and_up_with_one_answer() -> None:
    table = a_table()

    assert table.handle(HostFailed(ANNA, "refused"), 100.0) == []
    assert table.is_up(ANNA)
    assert table.handle(HostFailed(ANNA, "refused"), 101.0) == [HostWentDown(ANNA, "refused")]
    assert table.handle(HostFailed(ANNA, "refused"), 102.0) == []
    assert not table.is_up(ANNA)
    assert table.handle(HostAnswered(ANNA), 103.0) == [HostCameUp(ANNA)]
    assert table.handle(HostAnswered(ANNA), 104.0) == []
    assert table.is_heard(ANNA)


def test_an_answer_between_two_failures_keeps_a_host_up() -> None:
    table = a_table()
    for event in (HostFailed(ANNA, "x"), HostAnswered(ANNA), HostFailed(ANNA, "x")):
        table.handle(event, 100.0)

    assert table.is_up(ANNA)


def test_the_next_probe_comes_sooner_after_a_failure() -> None:
    table = HealthTable([ANNA], SETTINGS, now=100.0)
    table.handle(Tick(), 100.0)
    table.handle(HostAnswered(ANNA), 100.5)
    assert table.next_deadline() == 105.5
    assert table.handle(Tick(), 105.4) == []

    assert table.handle(Tick(), 105.5) == [Probe(ANNA)]
    table.handle(HostFailed(ANNA, "x"), 106.0)
    assert table.next_deadline() == 107.0


def test_hosts_that_are_not_in_the_table_are_ignored() -> None:
    table = a_table()

    assert table.handle(HostAnswered(STRANGER), 1.0) == []
    assert table.handle(HostFailed(STRANGER, "x"), 1.0) == []


events = st.one_of(
    st.builds(HostAnswered, st.sampled_from([ANNA, BERT, STRANGER])),
    st.builds(HostFailed, st.sampled_from([ANNA, BERT, STRANGER]), st.just("x")),
    st.just(Tick()),
)


@given(st.lists(st.tuples(events, st.floats(0, 10)), max_size=60))
def test_changes_are_told_once_and_no_host_is_ever_forgotten(steps: list[tuple[HealthEvent, float]]) -> None:
    table = a_table()
    now, told = 100.0, {ANNA: True, BERT: True}
    for event, passed in steps:
        now += passed
        for action in table.handle(event, now):
            match action:
                case HostCameUp(host):
                    told[host] = True
                case HostWentDown(host, _):
                    assert told[host]
                    told[host] = False
                case Probe(host):
                    assert host in told
    assert told == {ANNA: table.is_up(ANNA), BERT: table.is_up(BERT)}

    for host in (ANNA, BERT):
        table.handle(HostFailed(host, "probe over"), now)
    assert table.next_deadline() == now + 1.0
