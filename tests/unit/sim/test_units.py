"""What is written on the command line of the simulator."""

from __future__ import annotations

import pytest

from kraken.core.errors import Invalid
from kraken.sim import units


def test_sizes_rates_times_and_parts_have_units() -> None:
    assert (units.size("1GiB"), units.size("500MB"), units.size("7")) == (2**30, 500_000_000, 7)
    assert (units.rate("1GB/s"), units.rate("20Mbit/s")) == (1e9, 2.5e6)
    assert (units.seconds("0.2s"), units.seconds("5ms"), units.seconds("3")) == (0.2, 0.005, 3.0)
    assert (units.part("1%"), units.part("0.5")) == (0.01, 0.5)
    assert (units.graph("tracker"), units.graph("regular:12")) == (None, 12)


@pytest.mark.parametrize("text", ["", "fast", "1 parsec", "-1", "1GB"])
def test_a_rate_is_a_number_with_a_unit_for_a_second(text: str) -> None:
    with pytest.raises(Invalid, match="rate"):
        units.rate(text)


@pytest.mark.parametrize("text", ["regular", "regular:x", "ring:3"])
def test_an_unknown_graph_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="not a graph"):
        units.graph(text)


def test_a_part_is_no_more_than_the_whole() -> None:
    assert units.part("100%") == 1.0
    with pytest.raises(Invalid, match="more than the whole"):
        units.part("101%")
