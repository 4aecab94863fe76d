"""From sources to a settings object; an error tells everything that is wrong, each on its line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from kraken.config.nearest import suggestion
from kraken.config.schema import Key, Option, Schema, schema_of, schema_of_item
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
    merged = Source({COMPONENT: Given(kind, "")} if COMPONENT in schema.options else {})
    for source in sources:
        merged.values |= source.values
        merged.sections |= source.sections
        merged.problems += source.problems
    values = _read_all(schema, merged, merged.problems)
    settings = None if merged.problems else _assemble(schema, schema.root, (), values, merged, merged.problems)
    if merged.problems:
        raise BadConfig("\n".join(merged.problems))
    return settings


def with_component(schema: Schema, kind: str) -> Schema:
    """The schema with the key `component`, which every file has, whether the settings class keeps it or not."""
    if COMPONENT in schema.options:
        return schema
    probe = schema_of(_Kind)
    option = dataclasses.replace(probe.options[COMPONENT], default=kind)
    return dataclasses.replace(schema, options={COMPONENT: option} | schema.options)


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


def _read_all(schema: Schema, source: Source, problems: list[str]) -> dict[Key, Any]:
    """A value for every setting: what was given, else its default."""
    values: dict[Key, Any] = {}
    for key, option in schema.options.items():
        if key in source.values:
            values[key] = _read_given(option, source.values[key], problems)
        elif option.required:
            problems.append(f"{_place(source, key[:-1])}{option.path} must be set: {option.meaning}")
        else:
            values[key] = option.default
    return values


def _read_given(option: Option, given: Given, problems: list[str]) -> Any:
    """The value that was given; None, with a problem, when it is wrong."""
    if option.holds_sections and given.text is not None:
        return tuple(_read_item(option, number, item, problems) for number, item in enumerate(given.items))
    try:
        return read(option, given.text)
    except Invalid as error:
        problems.append(f"{given.where}: {option.path} {error}")
        return None


def _read_item(option: Option, number: int, item: Source, problems: list[str]) -> Any:
    """The settings object of one section of a list; what is wrong with one does not hide what is with another."""
    schema = schema_of_item(option, number)
    own: list[str] = []
    values = _read_all(schema, item, own)
    made = None if own else _assemble(schema, schema.root, schema.prefix, values, item, own)
    problems += own
    return made


def _assemble(
    schema: Schema, section: type, prefix: Key, values: Mapping[Key, Any], source: Source, problems: list[str]
) -> Any:
    """The settings object of a section with all that is nested in it; None, with a problem, when its class objects."""
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(section):
        key = (*prefix, field.name)
        nested = schema.sections.get(key)
        arguments[field.name] = (
            values[key] if nested is None else _assemble(schema, nested, key, values, source, problems)
        )
    if problems:
        return None
    try:
        return section(**arguments)
    except Invalid as error:  # a rule over several settings, which only the class knows
        problems.append(f"{_place(source, prefix)}{'.'.join(prefix) or 'settings'}: {error}")
        return None


def _place(source: Source, section: Key) -> str:
    """Where a section begins, as the head of a message; nothing when no file has it."""
    where = source.sections.get(section)
    return "" if where is None else f"{where}: "
