"""From text to values, by the type that the setting declares and by nothing else.

YAML's own guesses (no is false, 1.10 is 1.1, 0777 is 511) have no say: a scalar is the text that stands there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

from kraken.config.schema import Option
from kraken.core.errors import Invalid
from kraken.core.peers import Address
from kraken.core.settings import Unit

Text = str | None | tuple[Any, ...]
"""What an operator wrote for one setting: a scalar, nothing (null), or a list of scalars or of whole mappings."""

_NUMBER = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?)\s*([A-Za-z%]*)")
_BYTES = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_FRACTIONS = {"": 1.0, "%": 0.01}
_PLAIN = {"": 1}
_SUFFIXES: dict[Unit, dict[str, int] | dict[str, float]] = {
    Unit.NONE: _PLAIN,
    Unit.BYTES: _BYTES,
    Unit.SECONDS: _SECONDS,
    Unit.FRACTION: _FRACTIONS,
}
_BOOLS = {"true": True, "false": False}


def read(option: Option, text: Text) -> Any:
    """The value of a setting.

    Raises: Invalid, with a message that goes behind the setting's name.
    """
    if text is None:
        if option.optional:
            return None
        raise Invalid(f"has no value; it should be {_expected(option)}")
    if option.many:
        items = (text,) if isinstance(text, str) else text
        return tuple(_read_one(option, item) for item in items)
    if not isinstance(text, str):
        raise Invalid(f"is a list; it should be {_expected(option)}")
    return _read_one(option, text)


def write(option: Option, value: Any) -> str:
    """A value as an operator would write it, in the largest unit that keeps it whole."""
    if value is None:
        return "null"
    if isinstance(value, tuple):
        return "[" + ", ".join(write(option, item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, int | float) and option.unit in (Unit.BYTES, Unit.SECONDS):
        return _with_suffix(value, _SUFFIXES[option.unit])
    return _digits(value) if isinstance(value, int | float) else str(value)


def _read_one(option: Option, text: str) -> Any:
    for kind, reader in _READERS.items():
        if issubclass(option.kind, kind):
            return reader(option, text)
    raise TypeError(f"{option.path} has the type {option.kind}, which no setting may have")


def _read_bool(option: Option, text: str) -> bool:
    if text not in _BOOLS:
        raise Invalid(f"is {text!r}; it should be {_expected(option)}")
    return _BOOLS[text]


def _read_number(option: Option, text: str) -> int | float:
    suffixes = _SUFFIXES[option.unit]
    match = _NUMBER.fullmatch(text)
    if not match or match[2] not in suffixes:
        raise Invalid(f"is {text!r}; it should be {_expected(option)}")
    value: int | float
    if option.kind is int:
        value = float(match[1]) * suffixes[match[2]] if "." in match[1] else int(match[1]) * suffixes[match[2]]
        if value != int(value):
            raise Invalid(f"is {text!r}; it should be a whole number")
        value = int(value)
    else:
        value = round(float(match[1]) * suffixes[match[2]], 12)  # 95 times 0.01 is a little more than 0.95
    _check_limits(option, value, text)
    return value


def _check_limits(option: Option, value: float, text: str) -> None:
    if option.low is not None and value < option.low:
        raise Invalid(f"is {text}; it should be at least {write(option, option.low)}")
    if option.high is not None and value > option.high:
        raise Invalid(f"is {text}; it should be at most {write(option, option.high)}")


def _read_enum(option: Option, text: str) -> Enum:
    for member in option.kind:  # type: ignore[attr-defined] # the table below says that it is an Enum
        if isinstance(member, Enum) and str(member.value) == text:
            return member
    raise Invalid(f"is {text!r}; it should be one of {option.type_name.replace(' | ', ', ')}")


def _read_address(_option: Option, text: str) -> Address:
    try:
        return Address.parse(text)
    except Invalid as error:
        raise Invalid(f"should be host:port: {error}") from error


def _read_path(_option: Option, text: str) -> Path:
    if not text or "\0" in text:
        raise Invalid(f"is {text!r}; it should be a path")
    return Path(text).expanduser()


def _read_text(_option: Option, text: str) -> str:
    return text


_READERS: dict[type, Callable[[Option, str], Any]] = {
    bool: _read_bool,  # before int, whose subclass it is
    int: _read_number,
    float: _read_number,
    Enum: _read_enum,
    Address: _read_address,
    Path: _read_path,
    str: _read_text,
}


def _expected(option: Option) -> str:
    examples = {
        Unit.BYTES: "a number of bytes, like 1048576 or 64MiB",
        Unit.SECONDS: "a number of seconds, like 5, 0.5, 250ms, 10s, 5m or 2h",
        Unit.FRACTION: "a fraction, like 0.25 or 25%",
    }
    return examples.get(option.unit) or option.type_name.replace(" | ", " or ")


def _with_suffix(value: float, suffixes: dict[str, int] | dict[str, float]) -> str:
    for suffix, factor in reversed(suffixes.items()):
        if suffix not in ("", "B") and factor >= 1 and value and value % factor == 0:
            return f"{int(value // factor)}{suffix}"
    unit = "s" if "s" in suffixes else ""
    milliseconds = round(value * 1000, 9)
    if unit and 0 < value < 1 and milliseconds.is_integer():
        return f"{int(milliseconds)}ms"
    return f"{_digits(value)}{unit}"


def _digits(number: float) -> str:
    return str(int(number)) if number == int(number) else format(number, "f").rstrip("0")
