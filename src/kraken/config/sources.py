"""Where settings are written: YAML files and environment variables, brought into one form.

A source yields, for each key it sets, the text that stands there and where that is, and the list of
what is wrong with it: all problems at once, each naming its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kraken.config.nearest import suggestion
from kraken.config.schema import Key, Option, Schema, schema_of_item
from kraken.config.values import Text
from kraken.core.errors import BadConfig

ENVIRONMENT_PREFIX = "KRAKEN_"
MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Given:
    """What was written for one setting, and where: `agent.yaml:12` or `KRAKEN_HTTP__LISTEN`.

    Of a list of sections, `items` has what each of them gives.
    """

    text: Text
    where: str
    items: tuple[Source, ...] = ()


@dataclass(slots=True)
class Source:
    """The settings of one file or environment, where its sections begin, and its problems."""

    values: dict[Key, Given] = field(default_factory=dict)
    sections: dict[Key, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_yaml(path: Path) -> yaml.MappingNode:
    """The root mapping of a YAML file, as nodes that know their lines.

    Raises: BadConfig, when the file cannot be read, is no YAML, or is no mapping.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadConfig(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise BadConfig(f"{path} has {len(data)} bytes; a configuration of more than {MAX_FILE_BYTES} is a mistake")
    try:
        root = yaml.compose(data, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadConfig(f"{path}:{line}: not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path}: not YAML: {str(error).splitlines()[0]}") from error
    if root is None:
        return yaml.MappingNode("tag:yaml.org,2002:map", [])
    if not isinstance(root, yaml.MappingNode):
        raise BadConfig(f"{path}:1: the file should be a mapping of keys to values")
    return root


def entries(node: yaml.MappingNode, place: str, problems: list[str]) -> Iterator[tuple[str, yaml.Node, str]]:
    """The keys of a mapping with their values and lines; what is no plain, unique key becomes a problem.

    Args: place, the file's name.
    """
    seen: set[str] = set()
    for key_node, value in node.value:
        where = f"{place}:{key_node.start_mark.line + 1}"
        if not isinstance(key_node, yaml.ScalarNode):
            problems.append(f"{where}: a key should be a plain word")
        elif key_node.value in seen:
            problems.append(f"{where}: the key {key_node.value} is here a second time")
        else:
            seen.add(key_node.value)
            yield key_node.value, value, where


def from_node(node: yaml.MappingNode, place: str, schema: Schema) -> Source:
    """The settings that a mapping of a YAML file gives."""
    source = Source(sections={(): f"{place}:1"})
    _collect(node, place, schema, (), source)
    return source


def from_environment(environ: Mapping[str, str], schema: Schema) -> Source:
    """The settings that environment variables give: KRAKEN_HTTP__LISTEN is http.listen.

    A variable that begins like ours and is none is a problem: a misspelt setting must not pass silently.
    """
    source = Source()
    variables = variables_of(schema)
    lists = {variable_name(key): option.path for key, option in schema.options.items() if option.holds_sections}
    for name in sorted(environ):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        key = variables.get(name)
        inside = next((path for variable, path in lists.items() if f"{name}__".startswith(f"{variable}__")), None)
        if inside is not None:
            source.problems.append(f"{name}: {inside} is a list of sections; write it in the file, under {inside}")
        elif key is None:
            source.problems.append(f"unknown environment variable {name}; {suggestion(name, variables)}")
        elif schema.options[key].many:
            items = tuple(item.strip() for item in environ[name].split(",") if item.strip())
            source.values[key] = Given(items, name)
        else:
            source.values[key] = Given(environ[name], name)
    return source


def variables_of(schema: Schema) -> dict[str, Key]:
    """The environment variables that there are; a list of sections has none."""
    return {variable_name(key): key for key, option in schema.options.items() if not option.holds_sections}


def variable_name(key: Key) -> str:
    """The environment variable of a setting."""
    return ENVIRONMENT_PREFIX + "__".join(part.upper() for part in key)


def _collect(node: yaml.MappingNode, place: str, schema: Schema, section: Key, source: Source) -> None:
    for name, value, where in entries(node, place, source.problems):
        key = (*section, name)
        if key in schema.sections:
            source.sections[key] = where
            if isinstance(value, yaml.MappingNode):
                _collect(value, place, schema, key, source)
            elif not _is_null(value):
                source.problems.append(f"{where}: {'.'.join(key)} should have keys of its own beneath it")
        elif key in schema.options and schema.options[key].holds_sections:
            _take_sections(value, where, place, schema.options[key], source)
        elif key in schema.options:
            _take(value, where, key, source)
        else:
            valid = [".".join((*section, child)) for child in schema.children(section)]
            elsewhere = [option.path for option in schema.options.values() if option.key[-1] == name]
            source.problems.append(
                f"{where}: unknown key {'.'.join(key)}; {suggestion('.'.join(key), elsewhere or valid)}"
            )


def _take(value: yaml.Node, where: str, key: Key, source: Source) -> None:
    if _is_null(value):
        source.values[key] = Given(None, where)
    elif isinstance(value, yaml.ScalarNode):
        source.values[key] = Given(value.value, where)
    elif isinstance(value, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in value.value):
        source.values[key] = Given(tuple(item.value for item in value.value), where)
    else:
        source.problems.append(f"{where}: {'.'.join(key)} should be a plain value or a list of plain values")


def _take_sections(value: yaml.Node, where: str, place: str, option: Option, source: Source) -> None:
    """Args: where, the line of the list's key; place, the file's name."""
    if _is_null(value):
        source.values[option.key] = Given(None, where)
    elif not isinstance(value, yaml.SequenceNode):
        source.problems.append(f"{where}: {option.path} should be a list, each item of which has keys of its own")
    else:
        items = tuple(
            _item(node, place, schema_of_item(option, number), source.problems)
            for number, node in enumerate(value.value)
        )
        source.values[option.key] = Given(_plain(value), where, items)


def _item(node: yaml.Node, place: str, schema: Schema, problems: list[str]) -> Source:
    where = f"{place}:{node.start_mark.line + 1}"
    source = Source(sections={schema.prefix: where}, problems=problems)
    if isinstance(node, yaml.MappingNode):
        _collect(node, place, schema, schema.prefix, source)
    else:
        problems.append(f"{where}: {'.'.join(schema.prefix)} should have keys of its own")
    return source


def _plain(node: yaml.Node) -> Any:
    """A node as the text that stands there: str, None, tuples, and dicts."""
    if isinstance(node, yaml.MappingNode):
        return {key.value: _plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return tuple(_plain(item) for item in node.value)
    return None if _is_null(node) else node.value


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"
