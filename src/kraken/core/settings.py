"""How a setting is declared, beside the code that it tunes.

    @dataclass(frozen=True, slots=True)
    class CacheSettings:
        max_bytes: int = setting(20 * GIB, unit=Unit.BYTES, meaning="The agent keeps at most this much.")

A setting may be another such class, or, as `tuple[UpstreamSettings, ...]`, a list of them. `kraken.config` gathers such
classes, reads values for them, and prints their documentation.
"""

from __future__ import annotations

from dataclasses import MISSING, field
from enum import Enum
from typing import Any

REQUIRED: Any = MISSING
"""The default of a setting that an operator must give. In its class it goes before those that have one."""


class Unit(Enum):
    """What a number counts, and so which suffixes a configuration file may write behind it."""

    NONE = ""
    BYTES = "bytes"
    SECONDS = "seconds"
    FRACTION = "fraction"


def setting(
    default: Any,
    *,
    meaning: str,
    unit: Unit = Unit.NONE,
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """A dataclass field with what an operator must know about it.

    Args: default, the value, a callable that makes it (a list, a nested settings class), or REQUIRED; meaning,
    one or two full sentences; low and high, the inclusive limits of a number.
    """
    metadata = {"meaning": meaning, "unit": unit, "low": low, "high": high}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)
