from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.upstream.retry_after import MAX_SECONDS, retry_after_seconds

NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("3601", MAX_SECONDS),
        ("99999999999999999999", MAX_SECONDS),
        ("1893499200", MAX_SECONDS),  # the second at which a limit ends, as one registry sends it
        ("Tue, 01 Jan 2030 12:00:30 GMT", 30.0),
        ("Tue, 01 Jan 2030 11:00:00 GMT", 0.0),
        ("Wed, 02 Jan 2030 12:00:00 GMT", MAX_SECONDS),
        ("Tue, 01 Jan 2030 12:00:30 -0000", 30.0),
        ("", None),
        (None, None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("\u0661", None),
    ],
)
def test_seconds_and_dates_are_read_and_bounded(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOW) == seconds


@given(st.text(max_size=60))
def test_any_text_gives_seconds_within_bounds_or_none(header: str) -> None:
    seconds = retry_after_seconds(header, NOW)

    assert seconds is None or 0.0 <= seconds <= MAX_SECONDS
