"""The swarm by simulation: the table of docs/performance.md. Run as `python -m bench.sim [--quick]`.

Each row is one crowd, run with several seeds; its figures are the worst of them, for a mark that one seed misses is
missed. `--quick` leaves out what takes longer than a few minutes.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from kraken.core.pieces import GIB, MIB
from kraken.p2p.settings import SwarmSettings
from kraken.runtime.garbage import without_collector
from kraken.runtime.huge_pages import start_anew_in_huge_pages
from kraken.sim.outcome import Outcome, outcome
from kraken.sim.scenario import Faults, Scenario
from kraken.sim.world import World

COLUMNS = (
    *("crowd", "p50", "p99", "slowest", "p50 ms", "reader lag", "copies of all origins", "events a second", "seeds"),
    *("mark", ""),
)
RATES = "p50 >= 0.95, p99 >= 0.90"
FAULTY_RATES = "p50 >= 0.93, p99 >= 0.88"
SMALL_SECONDS = 0.040
LAG = 0.15

UBER = SwarmSettings(requests_per_peer=3, requests_total=256, upload_slots=64, queued_per_peer=3)
"""Uber's Kraken: three requests a peer, no limit in all, everyone is sent to at once."""

T = TypeVar("T")

Verdict = Callable[[Outcome], bool]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    scenario: Scenario
    seeds: tuple[int, ...]
    mark: str = ""
    kept: Verdict | None = None
    quick: bool = True


def _rates(p50: float, p99: float) -> Verdict:
    return lambda figures: figures.p50 >= p50 and figures.p99 >= p99 and not figures.unfinished


def _small(figures: Outcome) -> bool:
    return figures.p50_seconds <= SMALL_SECONDS


def _prompt(figures: Outcome) -> bool:
    return figures.reader_lag_p50 is not None and figures.reader_lag_p50 <= LAG


_CROWD = Scenario(blob=GIB, arrivals=0.2)
_FAULTY = Faults(deaths=0.01, stragglers=0.01)

ROWS = (
    Row("100 hosts, 1 GiB", replace(_CROWD, hosts=100), (1, 2, 3), RATES, _rates(0.95, 0.90)),
    Row("1,000 hosts, 1 GiB", replace(_CROWD, hosts=1000), (1, 2, 3), RATES, _rates(0.95, 0.90), quick=False),
    Row(
        "100 hosts, 1 GiB, each with a reader",
        replace(_CROWD, hosts=100, readers=True),
        (1, 2, 3),
        "lag <= 0.15",
        _prompt,
    ),
    Row("200 hosts, 1 GiB, each with a reader", replace(_CROWD, hosts=200, readers=True), (1,), "lag <= 0.15", _prompt),
    Row(
        "300 hosts within 0.1 s, 512 MiB, each with a reader",
        replace(_CROWD, hosts=300, blob=512 * MIB, arrivals=0.1, readers=True),
        (1, 2, 3),
        "lag <= 0.15",
        _prompt,
    ),
    Row(
        "1,000 hosts, 1 GiB, each with a reader",
        replace(_CROWD, hosts=1000, readers=True),
        (1, 2),
        "lag <= 0.15",
        _prompt,
        quick=False,
    ),
    Row("8,000 hosts, 1 GiB", replace(_CROWD, hosts=8000), (1,), RATES, _rates(0.95, 0.90), quick=False),
    Row("15,000 hosts, 1 GiB", replace(_CROWD, hosts=15_000), (1,), RATES, _rates(0.95, 0.90), quick=False),
    Row(
        "1,000 hosts, 10 GiB",
        replace(_CROWD, hosts=1000, blob=10 * GIB),
        (1,),
        "p50 >= 0.98",
        _rates(0.98, 0.0),
        quick=False,
    ),
    Row(
        "1,000 hosts at once, 20 MiB",
        replace(_CROWD, hosts=1000, blob=20 * MIB, arrivals=0.0),
        (1, 2, 3, 4),
        "p50 <= 40 ms",
        _small,
    ),
    Row(
        "200 hosts, 1 GiB, 1 % die, 1 % at a tenth",
        replace(_CROWD, hosts=200, faults=_FAULTY),
        (1, 2, 3),
        FAULTY_RATES,
        _rates(0.93, 0.88),
    ),
    Row(
        "1,000 hosts, 1 GiB, 1 % die, 1 % at a tenth",
        replace(_CROWD, hosts=1000, faults=_FAULTY),
        (1,),
        FAULTY_RATES,
        _rates(0.93, 0.88),
        quick=False,
    ),
    Row(
        "settings of Uber's Kraken, 4 MiB pieces, 1,000 hosts at once, 10-regular graph",
        replace(_CROWD, hosts=1000, arrivals=0.0, piece=4 * MIB, degree=10, origin_degree=10, swarm=UBER),
        (1,),
        "0.80 to 0.85 is known",
        quick=False,
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sim", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only rows that take a few minutes")
    quick: bool = parser.parse_args().quick
    start_anew_in_huge_pages()
    print(f"| {' | '.join(COLUMNS)} |")
    print(f"| {' | '.join(['---'] * len(COLUMNS))} |")
    for row in ROWS:
        if row.quick or not quick:
            print(line(row, [run(replace(row.scenario, seed=seed)) for seed in row.seeds]), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nPeak memory of the process: {peak:.0f} MiB.")


def run(scenario: Scenario) -> Outcome:
    """The figures of one crowd."""

    def ran() -> Outcome:
        world = World(scenario)
        world.run()
        return outcome(world)

    return without_collector(ran)


def line(row: Row, runs: Sequence[Outcome]) -> str:
    """One row of the table, with the worst of its runs."""
    lags = [each.reader_lag_p50 for each in runs]
    figures = (
        f"{min(each.p50 for each in runs):.3f}",
        f"{min(each.p99 for each in runs):.3f}",
        f"{min(each.slowest for each in runs):.3f}",
        f"{1000 * max(each.p50_seconds for each in runs):.1f}",
        "" if None in lags else f"{max(filter(None, lags)):.2f}",
        f"{max(each.origin_copies_total for each in runs):.1f}",
        f"{min(each.events_per_second for each in runs):,.0f}",
        ", ".join(map(str, row.seeds)),
    )
    verdict = "" if row.kept is None else "kept" if all(map(row.kept, runs)) else "missed"
    return f"| {row.name} | {' | '.join(figures)} | {row.mark} | {verdict} |"


if __name__ == "__main__":
    main()
