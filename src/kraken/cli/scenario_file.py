"""Files that hold the options of a command, as a scenario of `kraken sim` does: `hosts: 1000`, `blob: 20MiB`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import yaml

from kraken.config.nearest import suggestion
from kraken.config.sources import entries, read_yaml
from kraken.core.errors import BadConfig


def read_options(path: Path, valid: Collection[str]) -> dict[str, str]:
    """The options that a YAML file gives, named as on the command line without the dashes before them.

    Raises: BadConfig, with one line for every problem.
    """
    problems: list[str] = []
    options: dict[str, str] = {}
    for name, value, where in entries(read_yaml(path), str(path), problems):
        if name not in valid:
            problems.append(f"{where}: there is no option {name}; {suggestion(name, valid)}")
        elif not isinstance(value, yaml.ScalarNode):
            problems.append(f"{where}: {name} should be one value, as on the command line")
        else:
            options[name] = value.value
    if problems:
        raise BadConfig("\n".join(problems))
    return options
