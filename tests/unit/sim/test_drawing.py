"""Pictures, in both formats."""

from __future__ import annotations

import io
from xml.etree import ElementTree

from PIL import Image

from kraken.sim.drawing import Box, Curve, Label, Picture, svg
from kraken.sim.png import png

RED, BLUE = "#ff0000", "#0000ff"
SHAPES = Picture(
    100, 60, [Box(10, 10, 20, 20, RED), Curve([(50, 5), (50, 55)], BLUE, 2), Label(99, 50, "<ends>", 12, "end")]
)


def test_svg_holds_every_shape_in_order() -> None:
    root = ElementTree.fromstring(svg(SHAPES))  # ours, not a stranger's
    shapes = [(each.tag.rpartition("}")[2], each.get("fill")) for each in root]

    assert (root.get("width"), root.get("height")) == ("100", "60")
    assert shapes == [("rect", "white"), ("rect", RED), ("polyline", "none"), ("text", None)]
    assert root[-1].text == "<ends>"


def test_png_holds_every_shape_at_twice_the_size() -> None:
    with Image.open(io.BytesIO(png(SHAPES))) as image:
        assert image.size == (200, 120)
        assert image.getpixel((40, 40)) == (255, 0, 0)
        assert image.getpixel((100, 60)) == (0, 0, 255)
        assert image.getpixel((0, 0)) == (255, 255, 255)
        left, _, right, _ = ink(image.crop((110, 70, 200, 120)))
    assert right >= 85  # the text ends where it should, and is there without a font of the machine
    assert 20 <= right - left <= 90


def ink(image: Image.Image) -> tuple[int, int, int, int]:
    """The smallest box that holds all that is dark."""
    box = image.convert("L").point(lambda value: 255 * (value < 128)).getbbox()
    assert box is not None
    return box
