"""Commands of a page of the documentation, with what the page says that they print."""

from __future__ import annotations

import fnmatch
import re
import subprocess
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"

_END = "-- that was it --"
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def steps(page: Path) -> list[tuple[str, str]]:
    """Each command of the page, and what it should print."""
    found: list[tuple[list[str], list[str]]] = []
    for block in _BLOCK.findall(page.read_text()):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(([line[2:]], []))
            elif line.startswith("> ") or line == ">":
                found[-1][0].append(line[2:])
            else:
                found[-1][1].append(line)
    return [("\n".join(command), "\n".join(printed)) for command, printed in found]


def is_as_shown(printed: str, shown: str) -> bool:
    """Whether a command printed what the page shows, where ... stands for anything."""
    pattern = re.sub(r"([\[*?])", r"[\1]", shown).replace("...", "*")
    return fnmatch.fnmatchcase(printed.strip(), pattern)


def printed_by(commands: list[str], folder: Path, **variables: object) -> list[str]:
    """What each command prints, run one after the other by one shell, with `folder` for /tmp."""
    script = [f"export {name}={value}" for name, value in variables.items()]
    for command in commands:
        script += [command.replace("/tmp/", f"{folder}/"), f"echo; echo '{_END}'"]
    done = subprocess.run(["bash"], input="\n".join(script), capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == ""
    return done.stdout.split(f"\n{_END}\n")[: len(commands)]


def assert_it_does_what_it_says(page: Path, folder: Path, **variables: object) -> int:
    """Run the page from its first line to its last. Returns: how many commands it has."""
    commands, shown = zip(*steps(page), strict=True)
    for command, printed, expected in zip(
        commands, printed_by(list(commands), folder, **variables), shown, strict=True
    ):
        assert is_as_shown(printed, expected), f"{command}\nprinted:\n{printed}\nthe page has:\n{expected}"
    return len(commands)
