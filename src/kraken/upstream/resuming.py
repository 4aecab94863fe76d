"""How a blob's bytes go on after a connection broke: what was asked for, and what the answer is.

Source: RFC 9110, sections 14.4 and 15.3.7.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kraken.core.errors import Invalid
from kraken.core.pieces import MAX_BLOB_SIZE

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,15})-[0-9]{1,15}/([0-9]{1,15}|\*)")


@dataclass(slots=True)
class Progress:
    """How much of a blob has come. `total` is None until the first answer, and where that does not tell."""

    received: int = 0
    total: int | None = None

    @property
    def is_too_much(self) -> bool:
        """Whether more has come than the blob has, or than any blob may have."""
        return self.received > (MAX_BLOB_SIZE if self.total is None else self.total)

    def __str__(self) -> str:
        return f"{self.received} of {'an unknown number of' if self.total is None else self.total} bytes"


@dataclass(frozen=True, slots=True)
class Part:
    """An answer with the rest of a blob, behind `skip` bytes that are here already. `total` is the blob's size."""

    skip: int
    total: int | None


def part_of(status: int, content_range: str | None, content_length: int | None, progress: Progress) -> Part:
    """What an answer brings to a blob of which some bytes may be here.

    Args: status, 200 or 206; the headers as they came, None where absent.
    Raises: Invalid, when it is about other bytes than those asked for, or about a blob of another size.
    """
    at = progress.received
    if status == 206 and at:
        part = Part(0, _total_behind(content_range or "", at))
    elif status == 200:
        part = Part(at, content_length)  # who does not know ranges sends all of it again
    else:
        raise Invalid(f"status {status} to a request for bytes from {at} on")
    if part.total is not None and part.total > MAX_BLOB_SIZE:
        raise Invalid(f"a blob of {part.total} bytes; {MAX_BLOB_SIZE} is the limit")
    if None not in (part.total, progress.total) and part.total != progress.total:
        raise Invalid(f"the blob had {progress.total} bytes and now has {part.total}")
    return part


def _total_behind(content_range: str, at: int) -> int | None:
    match = _CONTENT_RANGE.fullmatch(content_range.strip())
    if match is None or int(match[1]) != at:
        raise Invalid(f"Content-Range {content_range[:80]!r} to a request for bytes from {at} on")
    return None if match[2] == "*" else int(match[2])
