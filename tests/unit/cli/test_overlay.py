from __future__ import annotations

from pathlib import Path

import pytest

from kraken.cli.kinds import Kind
from kraken.cli.overlay import overlays
from kraken.core.errors import BadConfig


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "dev.yaml"
    path.write_text(text)
    return path


def test_nothing_given_changes_nothing() -> None:
    assert overlays(None, {"HOME": "/root"}) == {kind: {} for kind in Kind}


def test_a_section_is_for_its_kind_and_the_environment_for_all_that_know_the_key(tmp_path: Path) -> None:
    path = write(tmp_path, "origin:\n  log: {level: debug}\n  write_quorum: 1\n")

    found = overlays(path, {"KRAKEN_LOG__LEVEL": "warning", "KRAKEN_CLUSTER__REPLICAS": "2"})

    assert found[Kind.ORIGIN] == {
        ("log", "level"): "warning",
        ("write_quorum",): "1",
        ("cluster", "replicas"): "2",
    }
    assert found[Kind.PROXY] == {("log", "level"): "warning", ("cluster", "replicas"): "2"}


def test_all_problems_are_told_with_their_places(tmp_path: Path) -> None:
    path = write(tmp_path, "origin:\n  write_quorun: 1\norigins: {}\nproxy: 5\nindex:\n  data: /x\n")

    with pytest.raises(BadConfig) as caught:
        overlays(path, {"KRAKEN_LOG__LEVELL": "debug"})

    assert str(caught.value).splitlines() == [
        f"{path}:2: unknown key write_quorun; did you mean write_quorum?",
        f"{path}:3: unknown component origins; did you mean origin?",
        f"{path}:4: proxy should have settings beneath it",
        "unknown environment variable KRAKEN_LOG__LEVELL; did you mean KRAKEN_LOG__LEVEL?",
        f"{path}:6: index: data is decided by kraken dev",
    ]
