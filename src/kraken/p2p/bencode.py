"""Bencoding, as far as the extension handshake needs it. Source: BEP 3, bencoding.

Strict: what is not canonical is refused, depth and size are bounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from kraken.core.errors import Invalid

Value: TypeAlias = "int | bytes | list[Value] | dict[bytes, Value]"
Encodable: TypeAlias = "int | bytes | Sequence[Encodable] | Mapping[bytes, Encodable]"

MAX_DEPTH = 8
_MAX_DIGITS = 20


def encode(value: Encodable) -> bytes:
    """The canonical bytes of a value: keys in bytewise order."""
    match value:
        case int():
            return b"i%de" % value
        case bytes():
            return b"%d:%b" % (len(value), value)
        case Mapping():
            pairs = (encode(key) + encode(value[key]) for key in sorted(value))
            return b"d" + b"".join(pairs) + b"e"
        case _:
            return b"l" + b"".join(map(encode, value)) + b"e"


def decode(data: bytes) -> Value:
    """The one value that `data` holds.

    Raises: Invalid, when it is malformed, nested deeper than 8, or followed by more bytes.
    """
    value, end = _value(data, 0, MAX_DEPTH)
    if end != len(data):
        raise Invalid(f"{len(data) - end} bytes after the bencoded value")
    return value


def _value(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    if depth == 0:
        raise Invalid(f"bencoding nested deeper than {MAX_DEPTH}")
    lead = data[at : at + 1]
    if lead == b"i":
        return _number(data, at + 1, b"e")
    if lead == b"l":
        return _list(data, at + 1, depth)
    if lead == b"d":
        return _dict(data, at + 1, depth)
    return _string(data, at)


def _number(data: bytes, at: int, end_mark: bytes) -> tuple[int, int]:
    end = data.find(end_mark, at, at + _MAX_DIGITS + 2)
    digits = data[at:end] if end >= 0 else b""
    canonical = digits.removeprefix(b"-")
    if not canonical.isdigit() or (canonical[0:1] == b"0" and digits != b"0"):
        raise Invalid(f"a malformed number at byte {at} of a bencoded value")
    return int(digits), end + 1


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    length, start = _number(data, at, b":")
    if length < 0 or start + length > len(data):
        raise Invalid(f"a string of {length} bytes at byte {at} of {len(data)}")
    return data[start : start + length], start + length


def _list(data: bytes, at: int, depth: int) -> tuple[list[Value], int]:
    items: list[Value] = []
    while data[at : at + 1] != b"e":
        item, at = _value(data, at, depth - 1)
        items.append(item)
    return items, at + 1


def _dict(data: bytes, at: int, depth: int) -> tuple[dict[bytes, Value], int]:
    pairs: dict[bytes, Value] = {}
    last: bytes | None = None
    while data[at : at + 1] != b"e":
        key, at = _string(data, at)
        if last is not None and key <= last:
            raise Invalid(f"key {key[:40]!r} out of order in a bencoded dictionary")
        pairs[key], at = _value(data, at, depth - 1)
        last = key
    return pairs, at + 1
