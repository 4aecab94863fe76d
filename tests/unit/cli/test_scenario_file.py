"""Scenario files: the options of a command, written down."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from kraken.cli.main import app
from kraken.cli.scenario_file import read_options
from kraken.core.errors import BadConfig


def a_file(folder: Path, text: str) -> Path:
    path = folder / "crowd.yaml"
    path.write_text(text)
    return path


def test_a_file_gives_what_the_command_line_would(tmp_path: Path) -> None:
    path = a_file(tmp_path, "hosts: 20\nblob: 16MiB\ncontrol-waits: true\n")

    assert read_options(path, ["hosts", "blob", "control-waits"]) == {
        "hosts": "20",
        "blob": "16MiB",
        "control-waits": "true",
    }


def test_everything_that_is_wrong_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    path = a_file(tmp_path, "hosts: 20\nblub: 1GiB\nrtt: [1]\nhosts: 3\n")

    with pytest.raises(BadConfig) as caught:
        read_options(path, ["hosts", "blob", "rtt"])

    assert str(caught.value).splitlines() == [
        f"{path}:2: there is no option blub; did you mean blob?",
        f"{path}:3: rtt should be one value, as on the command line",
        f"{path}:4: the key hosts is here a second time",
    ]


def test_an_image_is_pulled_layer_by_layer() -> None:
    options = ["sim", "--hosts", "3", "--layers", "2MiB,512KiB,1MiB", "--at-once", "2", "--arrivals", "0s"]

    said = CliRunner().invoke(app, options, catch_exceptions=False)

    assert said.exit_code == 0
    assert said.output.splitlines()[:2] == ["hosts             3, of which 0 never finished", "layers            3"]
    with pytest.raises(BadConfig, match="no --plot"):
        CliRunner().invoke(app, [*options, "--plot", "x.svg"], catch_exceptions=False)
    with pytest.raises(BadConfig, match="without faults"):
        CliRunner().invoke(app, [*options, "--deaths", "1%"], catch_exceptions=False)


def test_several_images_may_have_a_base_in_common(tmp_path: Path) -> None:
    path = a_file(tmp_path, "hosts: 4\nlayers: 2MiB,512KiB,1MiB\nimages: 2\ncommon: 1\narrivals: 0s\n")

    said = CliRunner().invoke(app, ["sim", "--scenario", str(path)], catch_exceptions=False)

    assert said.exit_code == 0
    assert said.output.splitlines()[:3] == [
        "hosts             4, of which 0 never finished",
        "images            2",
        "layers            3 each, 1 of them in common",
    ]
    for options in (["--images", "2"], ["--common", "1"]):
        with pytest.raises(BadConfig, match="give its --layers as well"):
            CliRunner().invoke(app, ["sim", *options], catch_exceptions=False)


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    path = a_file(tmp_path, "hosts: 7\nblob: 1MiB\narrivals: 0s\ngraph: regular:2\n")

    said = CliRunner().invoke(app, ["sim", "--scenario", str(path), "--hosts", "3"], catch_exceptions=False)

    assert said.exit_code == 0
    assert said.output.splitlines()[:2] == [
        "hosts             3, of which 0 died and 0 live ones never finished",
        "pieces            4 of 256 KiB",
    ]
