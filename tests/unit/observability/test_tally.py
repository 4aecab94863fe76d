"""The quick families say what those of prometheus-client would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from kraken.observability.tally import CountFamily, SpreadFamily

BOUNDS = (0.1, 1.0, 2.5)


def page(registry: CollectorRegistry) -> list[str]:
    """The lines of a registry's page, without the times of birth that prometheus-client adds."""
    return sorted(line for line in generate_latest(registry).decode().splitlines() if "_created" not in line)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(BOUNDS) | st.floats(0, 5))))
def test_observations_are_those_of_a_histogram(seen: list[tuple[str, float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    quick = SpreadFamily("kraken_seconds", "Seconds.", "route", BOUNDS)
    ours.register(quick)
    slow = Histogram("kraken_seconds", "Seconds.", ["route"], registry=theirs, buckets=BOUNDS)
    for route, value in seen:
        quick.labels(route=route).observe(value)
        slow.labels(route=route).observe(value)

    assert page(ours) == page(theirs)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"))))
def test_counts_are_those_of_a_counter(seen: list[tuple[str, str]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    quick = CountFamily("kraken_things", "Things.", ("kind", "result"))
    ours.register(quick)
    slow = Counter("kraken_things", "Things.", ["kind", "result"], registry=theirs)
    for kind, result in seen:
        quick.labels(result=result, kind=kind).inc()
        slow.labels(result=result, kind=kind).inc()

    assert page(ours) == page(theirs)
