"""Files for pictures: what the name says is what is written, and what cannot be is told first."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from kraken.cli.main import app
from kraken.cli.plot_file import PlotFile
from kraken.core.errors import BadConfig
from kraken.sim.drawing import Picture

WHITE = Picture(4, 3, [])
CROWD = ["sim", "--hosts", "3", "--blob", "2MiB", "--arrivals", "0s"]
ENDLESS = ["sim", "--hosts", "100000", "--blob", "1TiB"]
"""Nobody waits for the end of this one: what is wrong must be told before it begins."""


@pytest.mark.parametrize("name", ["crowd.svg", "CROWD.SVG"])
def test_a_name_in_svg_gives_svg(tmp_path: Path, name: str) -> None:
    PlotFile(tmp_path / name).write(WHITE)

    assert (tmp_path / name).read_bytes().startswith(b"<svg ")


@pytest.mark.parametrize("name", ["crowd.png", "CROWD.PNG"])
def test_a_name_in_png_gives_png(tmp_path: Path, name: str) -> None:
    PlotFile(tmp_path / name).write(WHITE)

    with Image.open(tmp_path / name) as image:
        assert image.format == "PNG"


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_a_crowd_is_drawn(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"crowd.{ending}"

    said = CliRunner().invoke(app, [*CROWD, "--plot", str(path)], catch_exceptions=False)

    assert said.exit_code == 0
    assert path.stat().st_size > 2000


@pytest.mark.parametrize("name", ["crowd.gif", "crowd", "crowd.svg.gz"])
def test_another_ending_is_refused_before_the_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadConfig, match=rf"{name} should end in \.svg or \.png"):
        CliRunner().invoke(app, [*ENDLESS, "--plot", str(tmp_path / name)], catch_exceptions=False)


def test_a_folder_that_is_not_there_is_told_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=f"there is no folder {tmp_path}/gone; make it"):
        CliRunner().invoke(app, [*ENDLESS, "--plot", str(tmp_path / "gone" / "crowd.svg")], catch_exceptions=False)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "crowd.svg").mkdir()

    with pytest.raises(BadConfig, match="is a folder; name a file"):
        PlotFile(tmp_path / "crowd.svg")


def test_what_this_user_may_not_write_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "there.svg"
    there.touch()
    monkeypatch.setattr(os, "access", lambda _path, mode: not mode & os.W_OK)  # root may write everywhere

    for path, blamed in ((there, there), (tmp_path / "new.svg", tmp_path)):
        with pytest.raises(BadConfig, match=f"{blamed} cannot be written by this user"):
            PlotFile(path)


def test_a_missing_library_is_named_with_the_way_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "kraken.sim.png", raising=False)

    with pytest.raises(BadConfig, match=r"needs Pillow.*install kraken-registry\[plot\]"):
        PlotFile(tmp_path / "crowd.png")
    PlotFile(tmp_path / "crowd.svg")
