"""A picture as the shapes that it is made of, and as SVG. Lengths are pixels, counted from the upper left corner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never
from xml.sax.saxutils import escape

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True, slots=True)
class Label:
    """A line of text; `x` is where it starts, ends, or has its middle, `y` is what the letters stand on."""

    x: float
    y: float
    text: str
    size: int = 12
    anchor: Anchor = "start"


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    colour: str


@dataclass(frozen=True, slots=True)
class Curve:
    """Straight lines from each point to the next."""

    points: Sequence[tuple[float, float]]
    colour: str
    width: int


Shape = Label | Box | Curve


@dataclass(frozen=True, slots=True)
class Picture:
    """Shapes on white, the first one at the bottom. Colours are `#rrggbb`, text is black."""

    width: int
    height: int
    shapes: Sequence[Shape]


def svg(picture: Picture) -> bytes:
    """The picture as an SVG file."""
    size = f'width="{picture.width}" height="{picture.height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">'
    ground = '<rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head, ground, *map(_element, picture.shapes), "</svg>", ""]).encode()


def _element(shape: Shape) -> str:
    match shape:
        case Label(x, y, text, size, anchor):
            place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
            return f"<text {place}>{escape(text)}</text>"
        case Box(x, y, width, height, colour):
            return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
        case Curve(points, colour, width):
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
        case _:
            assert_never(shape)
