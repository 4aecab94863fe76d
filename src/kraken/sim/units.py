"""Sizes, rates, times, parts and graphs, as they are written on a command line."""

from __future__ import annotations

import re

from kraken.core.errors import Invalid

_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z/%]*)")
_BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40}
_BITS = {"kbit/s": 125.0, "Mbit/s": 125e3, "Gbit/s": 125e6}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def size(text: str) -> int:
    """Bytes: 1GiB, 20MiB, 500MB, or a plain number. Raises: Invalid, as all here."""
    return round(_scaled(text, {"": 1.0} | _BYTES, "a size such as 1GiB"))


def rate(text: str) -> float:
    """Bytes per second: 1GB/s, 250MiB/s, 20Mbit/s."""
    return _scaled(text, {f"{unit}/s": factor for unit, factor in _BYTES.items()} | _BITS, "a rate such as 1GB/s")


def seconds(text: str) -> float:
    """Seconds: 0.2s, 5ms, 16us, or a plain number."""
    return _scaled(text, {"": 1.0} | _SECONDS, "a time such as 0.2s")


def part(text: str) -> float:
    """A part of a whole: 1% or 0.01."""
    value = _scaled(text, {"": 1.0, "%": 0.01}, "a part such as 1%")
    if value > 1:
        raise Invalid(f"{text!r} is more than the whole")
    return value


def graph(text: str) -> int | None:
    """The degree of `regular:12`; None for `tracker`."""
    if text == "tracker":
        return None
    kind, _, degree = text.partition(":")
    if kind == "regular" and degree.isascii() and degree.isdigit():
        return int(degree)
    raise Invalid(f"{text!r} is not a graph; it should be tracker, or regular: and a number of connections")


def _scaled(text: str, factors: dict[str, float], expected: str) -> float:
    match = _NUMBER.fullmatch(text.strip())
    if match is None or match[2] not in factors:
        raise Invalid(f"{text!r} is not {expected}; the units are {', '.join(filter(None, factors))}")
    return float(match[1]) * factors[match[2]]
