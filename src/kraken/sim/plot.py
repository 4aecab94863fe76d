"""A picture of a run, as SVG: how the crowd fills and finishes, and how many hold the rarest piece."""

from __future__ import annotations

from collections.abc import Callable
from xml.sax.saxutils import escape

from kraken.sim.outcome import Outcome
from kraken.sim.world import Sample, World

_WIDTH, _HEIGHT = 860, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 200, 40, 50
_CURVES: tuple[tuple[str, str, Callable[[Sample], float]], ...] = (
    ("hosts that began", "#9aa5b1", lambda sample: sample.begun),
    ("pieces received", "#2563eb", lambda sample: sample.held),
    ("hosts that finished", "#059669", lambda sample: sample.finished),
    ("copies of the rarest piece", "#d97706", lambda sample: sample.rarest),
)


def svg(world: World, outcome: Outcome) -> str:
    """The picture. All curves are parts of the whole crowd, from 0 to 1."""
    samples = world.samples
    last = max((sample.time for sample in samples), default=1.0) or 1.0
    scenario = world.scenario
    title = (
        f"{scenario.hosts} hosts, {world.pieces.count} pieces, {scenario.origins} origins, seed {scenario.seed}: "
        f"p50 {outcome.p50:.3f}, p99 {outcome.p99:.3f} of line rate"
    )
    size = f'width="{_WIDTH}" height="{_HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="24" font-size="14">{escape(title)}</text>',
        *_axes(last),
    ]
    for number, (name, colour, value) in enumerate(_CURVES):
        points = " ".join(f"{_x(sample.time, last):.1f},{_y(value(sample)):.1f}" for sample in samples)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at = _TOP + 16 + 20 * number
        right = _WIDTH - _RIGHT + 14
        parts.append(f'<rect x="{right}" y="{at - 9}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{right + 16}" y="{at}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _axes(last: float) -> list[str]:
    lines: list[str] = []
    for step in range(5):
        y, x = _y(step / 4), _x(last * step / 4, last)
        lines.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}" stroke="#e5e7eb"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{25 * step} %</text>')
        lines.append(
            f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{last * step / 4:.3g} s</text>'
        )
    return lines


def _x(time: float, last: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * time / last


def _y(part: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * part
