"""Where a command writes a picture, and in which format. What cannot be written is told before there is a picture."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from kraken.core.errors import BadConfig
from kraken.sim.drawing import Picture, svg

_FORMATS = (".svg", ".png")


class PlotFile:
    """A file that can be written as far as its name and its folder tell."""

    def __init__(self, path: Path) -> None:
        """Raises: BadConfig, for a name that ends in no format we write, a format whose library is missing, and a place
        that cannot be written.
        """
        self._path = path
        self._encode = _encoder(path)
        _check_place(path)

    def write(self, picture: Picture) -> None:
        """Raises: OSError."""
        self._path.write_bytes(self._encode(picture))


def _encoder(path: Path) -> Callable[[Picture], bytes]:
    ending = path.suffix.lower()
    if ending == ".svg":
        return svg
    if ending != ".png":
        raise BadConfig(f"{path} should end in {' or '.join(_FORMATS)}, which says the format of the picture")
    try:
        from kraken.sim.png import png
    except ModuleNotFoundError as error:
        remedy = "install kraken-registry[plot], or Pillow itself, or name a file in .svg"
        raise BadConfig(f"{path}: PNG needs Pillow, which is not installed; {remedy}") from error
    return png


def _check_place(path: Path) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise BadConfig(f"{path}: there is no folder {folder}; make it, or name another")
    if path.is_dir():
        raise BadConfig(f"{path} is a folder; name a file")
    target = path if path.exists() else folder
    if not os.access(target, os.W_OK):
        raise BadConfig(f"{path}: {target} cannot be written by this user; name another place, or change its mode")
