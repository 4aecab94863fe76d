"""Settings for a whole cluster: one section for each kind of component, and the environment for all.

agent:
  cache:
    max_bytes: 1GiB
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from kraken.cli.kinds import Kind, settings_class
from kraken.config.nearest import suggestion
from kraken.config.schema import Key, Schema, schema_of
from kraken.config.sources import (
    ENVIRONMENT_PREFIX,
    Given,
    entries,
    from_environment,
    from_node,
    read_yaml,
    variable_name,
)
from kraken.config.values import Text
from kraken.core.errors import BadConfig

_PLANNED: tuple[Key, ...] = (
    ("component",),
    ("name",),
    ("data",),
    ("http", "listen"),
    ("peer", "listen"),
    ("cluster", "origins"),
    ("cluster", "trackers"),
    ("cluster", "indexes"),
)
"""What the cluster's plan decides, and so no overlay may."""


def overlays(file: Path | None, environ: Mapping[str, str]) -> dict[Kind, dict[Key, Text]]:
    """What the operator wants otherwise, for each kind of component. The environment goes before the file.

    Raises: BadConfig, with one line for every problem.
    """
    schemas = {kind: schema_of(settings_class(kind)) for kind in Kind}
    problems: list[str] = []
    given = _from_file(file, schemas, problems) if file is not None else {kind: {} for kind in Kind}
    for kind, values in _from_environment(environ, schemas, problems).items():
        given[kind] |= values
    for kind, values in given.items():
        problems += [
            f"{values[key].where}: {kind}: {'.'.join(key)} is decided by kraken dev"
            for key in _PLANNED
            if key in values
        ]
    if problems:
        raise BadConfig("\n".join(problems))
    return {kind: {key: value.text for key, value in values.items()} for kind, values in given.items()}


def _from_file(file: Path, schemas: Mapping[Kind, Schema], problems: list[str]) -> dict[Kind, dict[Key, Given]]:
    found: dict[Kind, dict[Key, Given]] = {kind: {} for kind in Kind}
    for name, node, where in entries(read_yaml(file), str(file), problems):
        if name not in list(Kind):
            problems.append(f"{where}: unknown component {name}; {suggestion(name, list(Kind))}")
        elif isinstance(node, yaml.MappingNode):
            source = from_node(node, str(file), schemas[Kind(name)])
            problems += source.problems
            found[Kind(name)] = source.values
        else:
            problems.append(f"{where}: {name} should have settings beneath it")
    return found


def _from_environment(
    environ: Mapping[str, str], schemas: Mapping[Kind, Schema], problems: list[str]
) -> dict[Kind, dict[Key, Given]]:
    names = {kind: {variable_name(key) for key in schema.options} for kind, schema in schemas.items()}
    known = sorted(set().union(*names.values()))
    problems += [
        f"unknown environment variable {name}; {suggestion(name, known)}"
        for name in sorted(environ)
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known
    ]
    sources = {
        kind: from_environment({name: text for name, text in environ.items() if name in names[kind]}, schema)
        for kind, schema in schemas.items()
    }
    problems += dict.fromkeys(problem for source in sources.values() for problem in source.problems)
    return {kind: source.values for kind, source in sources.items()}
