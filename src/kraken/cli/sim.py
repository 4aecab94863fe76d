"""`kraken sim`: a crowd under a virtual clock, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from kraken.cli.plot_file import PlotFile
from kraken.runtime.garbage import without_collector
from kraken.runtime.huge_pages import start_anew_in_huge_pages
from kraken.sim.image import ImageCrowd, ImageSet
from kraken.sim.outcome import ImageOutcome, Outcome, image_outcome, outcome
from kraken.sim.plot import plot
from kraken.sim.scenario import Scenario
from kraken.sim.world import World

_SAMPLES = 200
_MANY_HOSTS = 1000


def run(scenario: Scenario, *, as_json: bool, picture: PlotFile | None) -> int:
    """Simulate, print the figures, and draw them. Returns: the exit code, 1 when a live host never had the blob."""
    _make_room(scenario)
    world = World(scenario, _SAMPLES if picture is not None else 0)
    without_collector(world.run)
    figures = outcome(world)
    print(json.dumps(figures.as_dict(), indent=2) if as_json else as_text(figures))  # noqa: T201 - its purpose
    if picture is not None:
        picture.write(plot(world, figures))
    return 1 if figures.unfinished else 0


def run_images(scenario: Scenario, pulled: ImageSet, *, as_json: bool) -> int:
    """The same for images. Raises: Invalid, as `ImageCrowd` does."""
    _make_room(scenario)
    crowd = ImageCrowd(scenario, pulled)
    without_collector(crowd.run)
    figures = image_outcome(crowd)
    print(json.dumps(figures.as_dict(), indent=2) if as_json else image_as_text(figures))  # noqa: T201 - its purpose
    return 1 if figures.unfinished else 0


def _make_room(scenario: Scenario) -> None:
    if scenario.hosts >= _MANY_HOSTS:
        start_anew_in_huge_pages()


def image_as_text(figures: ImageOutcome) -> str:
    """The figures, one a line."""
    lines = [
        ("hosts", f"{figures.hosts}, of which {figures.unfinished} never finished"),
        ("layers", str(figures.layers)),
        *_speed(figures),
        ("duplicates", f"{figures.duplicate_percent:.2f} % of the bytes received"),
        *_traffic(figures),
        ("events", str(figures.events)),
        ("digest", figures.digest),
    ]
    if figures.images > 1:
        lines[1:2] = [
            ("images", str(figures.images)),
            ("layers", f"{figures.layers} each, {figures.common_layers} of them in common"),
        ]
        by_image = " / ".join(f"{each:.3f}" for each in figures.p50_by_image)
        lines.insert(6, ("p50 by image", by_image))
    return _in_lines(lines)


def as_text(figures: Outcome) -> str:
    """The figures, one a line."""
    lines = [
        ("hosts", f"{figures.hosts}, of which {figures.dead} died and {figures.unfinished} live ones never finished"),
        ("pieces", f"{figures.pieces} of {figures.piece_bytes // 1024} KiB"),
        *_speed(figures),
        ("floor", f"{figures.floor:.3f}, for whole pieces when all begin at once"),
        ("duplicates", f"{figures.duplicate_percent:.2f} % of the bytes received"),
        *_traffic(figures),
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
    return _in_lines(lines)


def _speed(figures: Outcome | ImageOutcome) -> list[tuple[str, str]]:
    times = f"{figures.p50_seconds:.4f} / {figures.p99_seconds:.4f} s; ideal {figures.ideal_seconds:.4f} s"
    return [
        ("p50 / p90 / p99", f"{figures.p50:.3f} / {figures.p90:.3f} / {figures.p99:.3f} of line rate"),
        ("slowest host", f"{figures.slowest:.3f} of line rate"),
        ("time p50 / p99", times),
    ]


def _traffic(figures: Outcome | ImageOutcome) -> list[tuple[str, str]]:
    copies = ", ".join(f"{each:.2f}" for each in figures.origin_copies)
    return [
        ("origins uploaded", f"{figures.origin_copies_total:.2f} copies ({copies})"),
        ("control messages", f"{figures.control_per_host:.0f} a host"),
        ("announces", f"{figures.announces_per_host:.2f} a host"),
    ]


def _in_lines(lines: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"{name:<18}{text}" for name, text in lines)
