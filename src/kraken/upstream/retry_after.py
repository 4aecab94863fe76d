"""The header Retry-After: how long somebody wants to be left alone."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_SECONDS = 3600.0
"""Who names a longer time is asked again after this one: a limit may be lifted, and a header may be nonsense."""


def retry_after_seconds(header: str | None, wall: datetime) -> float | None:
    """Seconds from `wall` on, within 0 and MAX_SECONDS; None when the header is absent or says nothing.

    Source: RFC 9110, section 10.2.3: seconds, or a date.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), MAX_SECONDS)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return min(max((date - wall).total_seconds(), 0.0), MAX_SECONDS)
