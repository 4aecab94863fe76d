"""Reads plain HTTP/1.1 requests: those of which nothing can be taken in two ways.

One known request line, one length, no transfer coding, no expectation, no upgrade. Of all others nothing is said here,
not even that they are wrong: a complete implementation says that, and so there is no request that the two could read
differently.
"""

from __future__ import annotations

import re
import sys
from enum import Enum
from functools import lru_cache
from typing import Final

MAX_HEAD_BYTES: Final = 2048

_KNOWN_HEADS: Final = 1024
"""The heads of a fleet differ in little but the length of the body, so each is read once."""

_END: Final = b"\r\n\r\n"
_FIELDS: Final = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n)+\r\n")
"""Source: RFC 9110, sections 5.5 and 5.6.2; no folded lines."""

_BODILESS: Final = re.compile(rb"(?:GET|HEAD) [!-~]+ HTTP/1\.1")
_UNUSUAL: Final = frozenset(
    {b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"te", b"trailer", b"http2-settings"}
)
_ONCE: Final = frozenset({b"host", b"content-length", b"connection"})
_MAX_DIGITS: Final = 9


PlainRequest = tuple[bytes, int, bool]
"""A request that is here whole: its body, how many bytes it is with its head, and whether the connection stays open."""


class NotYet(Enum):
    """Why there is no request."""

    INCOMPLETE = "what is here may be the beginning of one"
    OTHER = "it is another request, or not plain"


class PlainReader:
    """Reads the plain requests `POST path` with bodies of at most `max_body_bytes`."""

    def __init__(self, path: str, max_body_bytes: int) -> None:
        self._line = f"POST {path} HTTP/1.1\r\n".encode()
        self._max_body_bytes = max_body_bytes
        self._heads = lru_cache(_KNOWN_HEADS)(self._read_head)
        # What a crowd says differs in the body alone, so the head before is likely this one, too.
        self._last, self._last_end, self._last_keep_alive = self._line, sys.maxsize, True

    def read(self, data: bytes) -> PlainRequest | NotYet:
        """The request with which the bytes begin; more may be behind it."""
        last, end = self._last, self._last_end
        if len(data) >= end and data.startswith(last):
            return data[len(last) : end], end, self._last_keep_alive
        if not data.startswith(self._line):
            return NotYet.INCOMPLETE if self._line.startswith(data) else NotYet.OTHER
        end = data.find(_END, 0, MAX_HEAD_BYTES)
        if end < 0:
            return NotYet.INCOMPLETE if len(data) < MAX_HEAD_BYTES else NotYet.OTHER
        begin = end + len(_END)
        head = self._heads(data[:begin])
        if head is None:
            return NotYet.OTHER
        body_length, keep_alive = head
        end = begin + body_length
        self._last, self._last_end, self._last_keep_alive = data[:begin], end, keep_alive
        return (data[begin:end], end, keep_alive) if len(data) >= end else NotYet.INCOMPLETE

    def _read_head(self, head: bytes) -> tuple[int, bool] | None:
        """The length of the body, and whether the connection stays open; None when the request is not plain."""
        known = _plain_fields(head[len(self._line) :])
        if known is None:
            return None
        length, connection = known.get(b"content-length", b""), known.get(b"connection", b"keep-alive")
        if not length.isdigit() or len(length) > _MAX_DIGITS or int(length) > self._max_body_bytes:
            return None
        if connection not in (b"keep-alive", b"close"):
            return None
        return int(length), connection == b"keep-alive"


def is_one_head(data: bytes) -> bool:
    """Whether these bytes are exactly one request, plain and without a body, so that the next begins behind them."""
    line, _, fields = data.partition(b"\r\n")
    if _BODILESS.fullmatch(line) is None:
        return False
    known = _plain_fields(fields)
    return known is not None and b"content-length" not in known


def _plain_fields(fields: bytes) -> dict[bytes, bytes] | None:
    """Names and values in lower case; None when something is malformed, unusual, or said twice that may not be."""
    if _FIELDS.fullmatch(fields) is None:
        return None
    known: dict[bytes, bytes] = {}
    for line in fields.split(b"\r\n")[:-2]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in _UNUSUAL or (name in _ONCE and name in known):
            return None
        known[name] = value.strip(b" \t").lower()
    return known if known.get(b"host") else None
