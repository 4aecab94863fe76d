"""`kraken sim`: a crowd under a virtual clock, and what became of it."""

from __future__ import annotations

import gc
import json
from pathlib import Path

from kraken.sim.outcome import Outcome, outcome
from kraken.sim.plot import svg
from kraken.sim.scenario import Scenario
from kraken.sim.world import World

_SAMPLES = 200


def run(scenario: Scenario, *, as_json: bool, plot: Path | None) -> int:
    """Simulate, and print the figures. Returns: the exit code, 1 when a live host never had the blob."""
    world = World(scenario, _SAMPLES if plot is not None else 0)
    gc.disable()  # a run makes few cycles, and the collector would look at millions of live objects again and again
    try:
        world.run()
    finally:
        gc.enable()
    figures = outcome(world)
    if plot is not None:
        plot.write_text(svg(world, figures))
    print(json.dumps(figures.as_dict(), indent=2) if as_json else as_text(figures))  # noqa: T201 - its purpose
    return 1 if figures.unfinished else 0


def as_text(figures: Outcome) -> str:
    """The figures, one a line."""
    copies = ", ".join(f"{each:.2f}" for each in figures.origin_copies)
    lines = [
        ("hosts", f"{figures.hosts}, of which {figures.dead} died and {figures.unfinished} live ones never finished"),
        ("pieces", f"{figures.pieces} of {figures.piece_bytes // 1024} KiB"),
        ("p50 / p90 / p99", f"{figures.p50:.3f} / {figures.p90:.3f} / {figures.p99:.3f} of line rate"),
        ("slowest host", f"{figures.slowest:.3f} of line rate"),
        ("floor", f"{figures.floor:.3f}, for whole pieces when all begin at once"),
        (
            "time p50 / p99",
            f"{figures.p50_seconds:.4f} / {figures.p99_seconds:.4f} s; ideal {figures.ideal_seconds:.4f} s",
        ),
        ("duplicates", f"{figures.duplicate_percent:.2f} % of the bytes received"),
        ("origins uploaded", f"{figures.origin_copies_total:.2f} copies ({copies})"),
        ("control messages", f"{figures.control_per_host:.0f} a host"),
        ("announces", f"{figures.announces_per_host:.2f} a host"),
        ("connections", f"at most {figures.most_connections} on an agent"),
        ("events", f"{figures.events} in {figures.wall_seconds:.1f} s: {figures.events_per_second:.0f} a second"),
        ("digest", figures.digest),
    ]
    if figures.reader_lag_p50 is not None and figures.reader_lag_p99 is not None:
        lags = f"p50 {figures.reader_lag_p50:.2f}, p99 {figures.reader_lag_p99:.2f} blob times beyond the ideal"
        lines.insert(6, ("reader lag", lags))
    if figures.crossing_percent:
        lines.insert(6, ("between zones", f"{figures.crossing_percent:.0f} % of the bytes"))
    if figures.stragglers_p50 is not None:
        lines.insert(4, ("stragglers p50", f"{figures.stragglers_p50:.3f} of their own line rate"))
    return "\n".join(f"{name:<18}{text}" for name, text in lines)
