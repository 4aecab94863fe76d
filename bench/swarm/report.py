"""What is told of a crowd: the real one beside its forecasts, and what the real one cost."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from kraken.core.pieces import MIB

BRAKED = 0.9
"""With more than this part of the machine's CPU time used, it was the brake and not the links."""

MOST_MBIT = 1100
"""Of all links together: 50 hosts with 20 Mbit/s, and their origins. Two cores were seen to top out at 1,400."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One crowd. Fractions are of the payload line rate: ideal time of a pull by its real time; 1.0 is perfect."""

    name: str
    unfinished: int
    p50: float
    p90: float
    p99: float
    slowest: float
    p50_seconds: float
    p99_seconds: float
    duplicate_percent: float  # of the payload that agents received
    origin_copies: float  # of the blob or image, uploaded by all origins together
    busiest_origin_copies: float
    announces_per_host: float
    control_per_host: float | None  # HAVE and request messages sent; agents do not count them
    lag_p50: float | None  # what a reader at line rate waits beyond the ideal, by the ideal; of one blob only
    lag_p99: float | None


@dataclass(frozen=True, slots=True)
class Costs:
    """What the real crowd used."""

    cpu_seconds_per_gb: float  # of all agents together, for each GB (10^9) that a client got
    peak_rss_median: int  # bytes, of an agent
    peak_rss_max: int
    busy: float  # part of the machine's CPU time that was used, by whomever
    idle_round_trip: float  # seconds, before the pull
    loaded_round_trip: float  # seconds, smoothed by TCP, median over all connections between peers amid the pull
    resent: float  # part of the segments of all hosts that were sent again, for a queue was full


@dataclass(frozen=True, slots=True)
class Setting:
    """What was run. Rates are bytes per second."""

    hosts: int
    origins: int
    layers: tuple[int, ...]  # bytes
    arrivals: float
    seed: int
    line_rate: float
    payload_rate: float
    ideal_seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """One run."""

    setting: Setting
    real: Figures
    forecasts: tuple[Figures, ...]
    costs: Costs

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def rates(seconds: Sequence[float], ideal: float) -> list[float]:
    """Fractions of line rate, the best first."""
    return sorted((ideal / each for each in seconds), reverse=True)


def show(reports: Sequence[Report]) -> None:
    """Print a table for each run, and one line of medians when there are several."""
    console = Console(width=140, highlight=False)
    for report in reports:
        console.print(_table(report))
        for line in _notes(report):
            console.print(line)
    if len(reports) > 1:
        console.print(_summary(reports))


_ROWS: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("p50 / p90 / p99 of payload line rate", lambda it: f"{it.p50:.3f} / {it.p90:.3f} / {it.p99:.3f}"),
    ("slowest host", lambda it: f"{it.slowest:.3f}"),
    ("time p50 / p99, s", lambda it: f"{it.p50_seconds:.2f} / {it.p99_seconds:.2f}"),
    ("copies uploaded by all origins", lambda it: f"{it.origin_copies:.2f}"),
    ("by the busiest", lambda it: f"{it.busiest_origin_copies:.2f}"),
    ("duplicates, % of bytes received", lambda it: f"{it.duplicate_percent:.2f}"),
    ("announces a host", lambda it: f"{it.announces_per_host:.2f}"),
    (
        "HAVEs and requests a host",
        lambda it: "not counted" if it.control_per_host is None else f"{it.control_per_host:.0f}",
    ),
    (
        "reader lag p50 / p99, blob times",
        lambda it: "-" if it.lag_p50 is None else f"{it.lag_p50:.2f} / {it.lag_p99:.2f}",
    ),
    ("never finished", lambda it: str(it.unfinished)),
)


def _table(report: Report) -> Table:
    setting = report.setting
    size = sum(setting.layers) / MIB
    what = f"{size:g} MiB" if len(setting.layers) == 1 else f"{len(setting.layers)} layers of {size:g} MiB"
    about = (
        f"{setting.hosts} hosts, {what}, {setting.origins} origins, within {setting.arrivals:g} s, seed {setting.seed}"
    )
    table = Table(title=f"{about}\nideal {setting.ideal_seconds:.2f} s", title_justify="left")
    table.add_column("")
    columns = (report.real, *report.forecasts)
    for figures in columns:
        table.add_column(figures.name, justify="right")
    for name, of in _ROWS:
        table.add_row(name, *map(of, columns))
    return table


def _notes(report: Report) -> list[str]:
    setting, costs = report.setting, report.costs
    line, payload = setting.line_rate * 8 / 1e6, setting.payload_rate * 8 / 1e6
    median, most = costs.peak_rss_median / MIB, costs.peak_rss_max / MIB
    idle, loaded = costs.idle_round_trip * 1e3, costs.loaded_round_trip * 1e3
    notes = [
        f"A link: {line:.2f} Mbit/s on the wire each way; {payload:.2f} of them are payload in full segments.",
        "Acknowledgements, HAVEs and requests share it and count as loss.",
        f"All agents: {costs.cpu_seconds_per_gb:.1f} CPU s for each GB that a client got.",
        f"Peak RSS of an agent: median {median:.0f} MiB, at most {most:.0f} MiB.",
        f"Round trip: {idle:.2f} ms before, {loaded:.0f} ms amid the pull; {costs.resent * 100:.1f} % was sent again.",
        f"The cores were {costs.busy * 100:.0f} % busy.",
    ]
    if (total := line * (setting.hosts + setting.origins)) > MOST_MBIT:
        notes.append(f"The links add up to {total:.0f} Mbit/s: two cores carry {MOST_MBIT} at most.")
    if costs.busy > BRAKED:
        notes.append("THE MACHINE WAS THE BRAKE: these are not the figures of the links.")
    return notes


def _summary(reports: Sequence[Report]) -> str:
    def median(of: Callable[[Report], float]) -> float:
        return statistics.median(map(of, reports))

    return (
        f"Medians of {len(reports)} runs: p50 {median(lambda it: it.real.p50):.3f}, "
        f"p99 {median(lambda it: it.real.p99):.3f}, copies {median(lambda it: it.real.origin_copies):.2f}, "
        f"{median(lambda it: it.costs.cpu_seconds_per_gb):.1f} CPU s/GB."
    )
