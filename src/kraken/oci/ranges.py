"""Byte ranges as HTTP and the registry protocol write them."""

from __future__ import annotations

import re

from kraken.core.errors import Invalid
from kraken.core.pieces import ByteRange

_ONE_RANGE = re.compile(r"[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*")
_CHUNK = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")


class Unsatisfiable(Invalid):
    """The range asked for holds no byte of the blob: a 416."""


def requested_range(header: str | None, size: int) -> ByteRange | None:
    """The bytes that a Range header asks for, of a blob of `size` bytes.

    Returns: None for the whole blob: no header, another unit than bytes, or several ranges, which RFC 9110
    section 14.2 lets a server answer with everything.
    Raises: Unsatisfiable, when nothing of it lies within the blob, or the header makes no sense.
    """
    if header is None:
        return None
    unit, equals, wanted = header.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    if "," in wanted:
        return None
    match = _ONE_RANGE.fullmatch(wanted)
    if match is None or not (match[1] or match[2]):
        raise Unsatisfiable(f"{header[:80]!r} is not a range of bytes")
    if not match[1]:
        return _last_bytes(int(match[2]), size)
    start = int(match[1])
    stop = min(int(match[2]) + 1, size) if match[2] else size
    if start >= stop:
        raise Unsatisfiable(f"{header[:80]!r} of a blob of {size} bytes")
    return ByteRange(start, stop)


def chunk_range(header: str) -> ByteRange:
    """The place of an uploaded chunk, from its Content-Range: `0-1023`, both ends included, no unit.

    Raises: Invalid, when it is not of this form or ends before it begins.
    Source: OCI distribution specification 1.1, Pushing a blob in chunks.
    """
    match = _CHUNK.fullmatch(header.strip())
    if match is None:
        raise Invalid(f"{header[:80]!r} is not a chunk's range; it should read like 0-1023")
    return ByteRange(int(match[1]), int(match[2]) + 1)


def _last_bytes(count: int, size: int) -> ByteRange:
    if count == 0 or size == 0:
        raise Unsatisfiable(f"the last {count} bytes of a blob of {size}")
    return ByteRange(max(size - count, 0), size)
