"""Lists in pages: `n` and `last` in, a part of the list and perhaps a `Link` out."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from kraken.core.errors import Invalid

MAX_PAGE = 10_000
"""Entries of one answer. High, because some clients compare counts instead of following `Link`."""

_MAX_LAST_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Up to `limit` entries that sort bytewise after `last`."""

    limit: int
    last: str | None


@dataclass(frozen=True, slots=True)
class NamePage:
    """Tags or repositories in bytewise order. `more` says that further ones follow the last of these."""

    names: tuple[str, ...]
    more: bool


def parse_page(n: str | None, last: str | None) -> PageRequest:
    """Admit the query of a list.

    Raises: Invalid, when `n` is not a number, or `last` is longer than any name.
    """
    if last is not None and len(last) > _MAX_LAST_LENGTH:
        raise Invalid(f"last has {len(last)} characters; {_MAX_LAST_LENGTH} is the limit")
    if n is None:
        return PageRequest(MAX_PAGE, last)
    if not (n.isascii() and n.isdigit()):
        raise Invalid(f"n={n[:40]!r} is not a number of entries")
    return PageRequest(min(int(n[:19]), MAX_PAGE), last)


def next_link(path: str, limit: int, last: str) -> str:
    """The Link header of a list that goes on after `last` (RFC 5988)."""
    return f'<{path}?{urlencode({"n": limit, "last": last})}>; rel="next"'
