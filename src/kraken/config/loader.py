"""From sources to a settings object; an error tells everything that is wrong, each on its line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from kraken.config.nearest import suggestion
from kraken.config.schema import Key, Schema, schema_of
from kraken.config.sources import Given, Source, from_environment, from_node, read_yaml
from kraken.config.values import read
from kraken.core.errors import BadConfig, Invalid

T = TypeVar("T")

COMPONENT: Key = ("component",)


def load(kind: str, root: type[T], path: Path, environ: Mapping[str, str]) -> T:
    """The settings of one component.

    Args: kind, what the file must name as its `component`; root, the component's settings class; path, of
    the YAML file; environ, whose KRAKEN_* variables go before the file.
    Raises: BadConfig, with one line for every problem.
    """
    schema = with_component(schema_of(root), kind)
    node = read_yaml(path)
    file = from_node(node, str(path), schema)
    file.problems += _wrong_component(node, kind, str(path))
    settings: T = build(schema, kind, [file, from_environment(environ, schema)])
    return settings


def component_of(path: Path, kinds: Iterable[str]) -> str:
    """The kind of component that a file is for: its key `component`.

    Raises: BadConfig, when it names none, or one that does not exist.
    """
    known = list(kinds)
    given = _component_value(read_yaml(path))
    if given is None:
        raise BadConfig(f"{path}:1: the key component is missing; it should be one of {', '.join(known)}")
    name, line = given
    if name not in known:
        raise BadConfig(f"{path}:{line}: component is {name!r}; {suggestion(name, known)}")
    return name


def build(schema: Schema, kind: str, sources: Iterable[Source]) -> Any:
    """A settings object from sources, of which a later one goes before an earlier one.

    Raises: BadConfig, with one line for every problem of every source and value.
    """
    problems: list[str] = []
    given: dict[Key, Given] = {COMPONENT: Given(kind, "")} if COMPONENT in schema.options else {}
    for source in sources:
        problems += source.problems
        given |= source.values
    values = _read_all(schema, given, problems)
    settings = None if problems else _assemble(schema, schema.root, (), values, problems)
    if problems:
        raise BadConfig("\n".join(problems))
    return settings


def with_component(schema: Schema, kind: str) -> Schema:
    """The schema with the key `component`, which every file has, whether the settings class keeps it or not."""
    if COMPONENT in schema.options:
        return schema
    probe = schema_of(_Kind)
    option = dataclasses.replace(probe.options[COMPONENT], default=kind)
    return Schema(schema.root, {COMPONENT: option} | schema.options, schema.sections)


@dataclasses.dataclass(frozen=True, slots=True)
class _Kind:
    component: str = dataclasses.field(default="", metadata={"meaning": "The kind of component this file is for."})


def _wrong_component(node: yaml.MappingNode, kind: str, place: str) -> list[str]:
    given = _component_value(node)
    if given is None:
        return [f"{place}:1: the key component is missing; it should be {kind}"]
    name, line = given
    return [] if name == kind else [f"{place}:{line}: component is {name!r}; this command wants {kind}"]


def _component_value(node: yaml.MappingNode) -> tuple[str, int] | None:
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value == "component" and isinstance(value, yaml.ScalarNode):
            return value.value, key.start_mark.line + 1
    return None


def _read_all(schema: Schema, given: Mapping[Key, Given], problems: list[str]) -> dict[Key, Any]:
    """A value for every setting: what was given, else its default."""
    values: dict[Key, Any] = {}
    for key, option in schema.options.items():
        if key in given:
            try:
                values[key] = read(option, given[key].text)
            except Invalid as error:
                problems.append(f"{given[key].where}: {option.path} {error}")
        elif option.required:
            problems.append(f"{option.path} must be set: {option.meaning}")
        else:
            values[key] = option.default
    return values


def _assemble(schema: Schema, section: type, prefix: Key, values: Mapping[Key, Any], problems: list[str]) -> Any:
    """The settings object of a section with all that is nested in it; None, with a problem, when its class objects."""
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(section):
        key = (*prefix, field.name)
        nested = schema.sections.get(key)
        arguments[field.name] = values[key] if nested is None else _assemble(schema, nested, key, values, problems)
    if problems:
        return None
    try:
        return section(**arguments)
    except Invalid as error:  # a rule over several settings, which only the class knows
        problems.append(f"{'.'.join(prefix) or 'settings'}: {error}")
        return None
