"""docs/api.md, run from its first line to its last."""

from __future__ import annotations

import fnmatch
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.helpers.dev_cluster import DevCluster, dev_cluster
from tests.helpers.tools import require

from kraken.cli.layout import Counts

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
COUNTS = Counts(origins=2, trackers=1, indexes=1, proxies=1, agents=1)
_END = "-- that was it --"
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    overlay = {"agent": {"confirm_seconds": 0}}
    with dev_cluster(tmp_path_factory.mktemp("cluster"), COUNTS, settings=overlay) as running:
        yield running


def steps() -> list[tuple[str, str]]:
    """Each command of the page, and what it should print."""
    found: list[tuple[list[str], list[str]]] = []
    for block in _BLOCK.findall(PAGE.read_text()):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(([line[2:]], []))
            elif line.startswith("> ") or line == ">":
                found[-1][0].append(line[2:])
            else:
                found[-1][1].append(line)
    return [("\n".join(command), "\n".join(printed)) for command, printed in found]


def is_as_shown(printed: str, shown: str) -> bool:
    pattern = re.sub(r"([\[*?])", r"[\1]", shown).replace("...", "*")
    return fnmatch.fnmatchcase(printed.strip(), pattern)


def printed_by(commands: list[str], folder: Path, **variables: object) -> list[str]:
    """What each command prints, run one after the other by one shell."""
    script = [f"export {name}={value}" for name, value in variables.items()]
    for command in commands:
        script += [command.replace("/tmp/", f"{folder}/"), f"echo; echo '{_END}'"]
    done = subprocess.run(["bash"], input="\n".join(script), capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == ""
    return done.stdout.split(f"\n{_END}\n")[: len(commands)]


def test_every_line_of_the_page_does_what_the_page_says(cluster: DevCluster, tmp_path: Path) -> None:
    require("curl")
    commands, shown = zip(*steps(), strict=True)
    assert len(commands) >= 38
    for command, printed, expected in zip(
        commands, printed_by(list(commands), tmp_path, PROXY=cluster.proxy, AGENT=cluster.agent), shown, strict=True
    ):
        assert is_as_shown(printed, expected), f"{command}\nprinted:\n{printed}\nthe page has:\n{expected}"


def test_what_is_shown_is_compared() -> None:
    assert is_as_shown("a [b] c\n", "a [b] c")
    assert is_as_shown("one\ntwo\nthree", "one\n...\nthree")
    assert not is_as_shown("200", "404")
    assert not is_as_shown("one\nthree", "one\n...\nthree")
