"""What a settings class allows: its keys, and for each its type, unit, default, limits and meaning."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from kraken.core.peers import Address
from kraken.core.settings import REQUIRED, Unit

_TYPE_NAMES: dict[type, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true | false",
    Path: "path",
    Address: "host:port",
}

Key = tuple[str, ...]
"""The way to a setting from the root: `("http", "listen")`, written `http.listen`."""


@dataclass(frozen=True, slots=True)
class Option:
    """One setting.

    `kind` is the type of the value, of one element where `many`; None is a value where `optional`. Where `many` and
    `kind` is a settings class, it is a list of sections.
    """

    key: Key
    kind: type
    many: bool
    optional: bool
    unit: Unit
    required: bool
    default: Any
    computed: bool
    meaning: str
    low: float | None
    high: float | None

    @property
    def path(self) -> str:
        return ".".join(self.key)

    @property
    def holds_sections(self) -> bool:
        return self.many and _is_section(self.kind)

    @property
    def type_name(self) -> str:
        """The type in an operator's words."""
        if self.holds_sections:
            return "list of sections"
        name = _TYPE_NAMES.get(self.kind, self.kind.__name__.lower())
        if issubclass(self.kind, Enum):
            name = " | ".join(str(member.value) for member in self.kind)
        if self.many:
            name = f"list of {name}"
        return f"{name} or null" if self.optional else name


@dataclass(frozen=True, slots=True)
class Schema:
    """All keys of a root settings class, in the order of their declaration; all of them begin with `prefix`."""

    root: type
    prefix: Key
    options: dict[Key, Option]
    sections: dict[Key, type]

    def children(self, section: Key) -> list[str]:
        """The names that may stand directly under a section."""
        depth = len(section)
        keys = [*self.options, *self.sections]
        return list(dict.fromkeys(key[depth] for key in keys if len(key) > depth and key[:depth] == section))


def schema_of(root: type, prefix: Key = ()) -> Schema:
    """The schema of a settings class and all that are nested in it."""
    options: dict[Key, Option] = {}
    sections: dict[Key, type] = {}
    for key, found in _walk(root, prefix, REQUIRED):
        if isinstance(found, Option):
            options[key] = found
        else:
            sections[key] = found
    return Schema(root, prefix, options, sections)


def schema_of_item(option: Option, number: int | None = None) -> Schema:
    """The schema of one section of a list, whose keys are like `upstreams[0].name`, or `upstreams[].name` of any."""
    *section, name = option.key
    return schema_of(option.kind, (*section, f"{name}[{'' if number is None else number}]"))


def _walk(section: type, prefix: Key, base: Any) -> Iterator[tuple[Key, Option | type]]:
    """Args: base, the instance that the class around this section makes by default; its values are the defaults.
    REQUIRED, where no class makes one: then the section's own class has the defaults.
    """
    hints = typing.get_type_hints(section)
    for field in dataclasses.fields(section):
        key = (*prefix, field.name)
        hint = hints[field.name]
        default = _default(field) if base is REQUIRED else getattr(base, field.name)
        if _is_section(hint):
            yield key, hint
            yield from _walk(hint, key, default)
        else:
            yield key, _option(key, hint, field, default)


def _is_section(hint: Any) -> bool:
    return isinstance(hint, type) and dataclasses.is_dataclass(hint) and hint not in _TYPE_NAMES  # Address is a value


def _default(field: dataclasses.Field[Any]) -> Any:
    """A field's default; REQUIRED where it has none."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _option(key: Key, hint: Any, field: dataclasses.Field[Any], default: Any) -> Option:
    kind, optional = _without_none(hint)
    many = typing.get_origin(kind) is tuple
    if many:
        kind = typing.get_args(kind)[0]
    computed = field.default_factory is not dataclasses.MISSING
    assert not (many and _is_section(kind) and default), f"{key}: a list of sections is empty by default"
    return Option(
        key=key,
        kind=kind,
        many=many,
        optional=optional,
        unit=field.metadata.get("unit", Unit.NONE),
        required=default is REQUIRED,
        default=default,
        computed=computed,
        meaning=field.metadata.get("meaning", ""),
        low=field.metadata.get("low"),
        high=field.metadata.get("high"),
    )


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    kinds = [kind for kind in typing.get_args(hint) if kind is not types.NoneType]
    return kinds[0], True
