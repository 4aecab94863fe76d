"""A picture of a run: how the crowd fills and finishes, and how many hold the rarest piece."""

from __future__ import annotations

from collections.abc import Callable

from kraken.sim.drawing import Box, Curve, Label, Picture, Shape
from kraken.sim.outcome import Outcome
from kraken.sim.world import Sample, World

_WIDTH, _HEIGHT = 860, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 200, 40, 50
_GRID = "#e5e7eb"
_CURVES: tuple[tuple[str, str, Callable[[Sample], float]], ...] = (
    ("hosts that began", "#9aa5b1", lambda sample: sample.begun),
    ("pieces received", "#2563eb", lambda sample: sample.held),
    ("hosts that finished", "#059669", lambda sample: sample.finished),
    ("copies of the rarest piece", "#d97706", lambda sample: sample.rarest),
)


def plot(world: World, outcome: Outcome) -> Picture:
    """The picture. All curves are parts of the whole crowd, from 0 to 1."""
    samples = world.samples
    last = max((sample.time for sample in samples), default=1.0) or 1.0
    scenario = world.scenario
    title = (
        f"{scenario.hosts} hosts, {world.pieces.count} pieces, {scenario.origins} origins, seed {scenario.seed}: "
        f"p50 {outcome.p50:.3f}, p99 {outcome.p99:.3f} of line rate"
    )
    shapes: list[Shape] = [Label(_LEFT, 24, title, size=14), *_axes(last)]
    right = _WIDTH - _RIGHT + 14
    for number, (name, colour, value) in enumerate(_CURVES):
        at = _TOP + 16 + 20 * number
        shapes += (
            Curve([(_x(sample.time, last), _y(value(sample))) for sample in samples], colour, 2),
            Box(right, at - 9, 10, 10, colour),
            Label(right + 16, at, name),
        )
    return Picture(_WIDTH, _HEIGHT, shapes)


def _axes(last: float) -> list[Shape]:
    shapes: list[Shape] = []
    for step in range(5):
        y, time = _y(step / 4), last * step / 4
        shapes += (
            Curve([(_LEFT, y), (_WIDTH - _RIGHT, y)], _GRID, 1),
            Label(_LEFT - 8, y + 4, f"{25 * step} %", anchor="end"),
            Label(_x(time, last), _HEIGHT - _BOTTOM + 20, f"{time:.3g} s", anchor="middle"),
        )
    return shapes


def _x(time: float, last: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * time / last


def _y(part: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * part
