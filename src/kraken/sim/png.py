"""A picture as PNG, by Pillow, whose own font it is written in: the machine needs none."""

from __future__ import annotations

import io
from typing import assert_never

from PIL import Image, ImageDraw, ImageFont

from kraken.sim.drawing import Box, Curve, Label, Picture, Shape

_SCALE = 2
"""Pixels of the file for one of the picture, each way: text stays sharp on a dense screen."""

_FINER = 4
"""Lines are drawn so many times larger than they come out, for Pillow draws them with hard edges."""

_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def png(picture: Picture) -> bytes:
    """The picture as a PNG file, of twice as many pixels each way."""
    size = picture.width * _SCALE, picture.height * _SCALE
    canvas = Image.new("RGB", (size[0] * _FINER, size[1] * _FINER), "white")
    draw = ImageDraw.Draw(canvas)
    for shape in picture.shapes:
        _draw(draw, shape, _SCALE * _FINER)
    out = io.BytesIO()
    canvas.resize(size, Image.Resampling.BOX).save(out, "PNG", optimize=True)
    return out.getvalue()


def _draw(draw: ImageDraw.ImageDraw, shape: Shape, scale: int) -> None:
    match shape:
        case Label(x, y, text, size, anchor):
            font = ImageFont.load_default(size * scale)
            draw.text((x * scale, y * scale), text, fill="black", font=font, anchor=_ANCHORS[anchor])
        case Box(x, y, width, height, colour):
            draw.rectangle((x * scale, y * scale, (x + width) * scale - 1, (y + height) * scale - 1), fill=colour)
        case Curve(points, colour, width):
            scaled = [(x * scale, y * scale) for x, y in points]
            draw.line(scaled, fill=colour, width=width * scale, joint="curve")
        case _:
            assert_never(shape)
