"""Byte ranges of requests and of uploaded chunks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.core.errors import Invalid
from kraken.core.pieces import ByteRange
from kraken.oci.ranges import Unsatisfiable, chunk_range, requested_range


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-0", ByteRange(0, 1)),
        ("bytes=2-5", ByteRange(2, 6)),
        ("bytes=2-", ByteRange(2, 10)),
        ("bytes=9-", ByteRange(9, 10)),
        ("bytes=-3", ByteRange(7, 10)),
        ("bytes=-30", ByteRange(0, 10)),
        ("bytes=5-500", ByteRange(5, 10)),
        ("Bytes= 5-6 ", ByteRange(5, 7)),
    ],
)
def test_a_range_within_the_blob_is_taken_and_its_end_clamped(header: str, span: ByteRange) -> None:
    assert requested_range(header, 10) == span


@pytest.mark.parametrize(
    "header", ["bytes=10-", "bytes=10-11", "bytes=5-4", "bytes=-0", "bytes=-", "bytes=x-1", "bytes=1", "bytes="]
)
def test_a_range_that_holds_nothing_or_makes_no_sense_is_unsatisfiable(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        requested_range(header, 10)


@pytest.mark.parametrize("header", [None, "", "items=0-1", "bytes 0-1", "bytes=0-1,3-4"])
def test_what_need_not_be_understood_means_the_whole_blob(header: str | None) -> None:
    assert requested_range(header, 10) is None


def test_the_empty_blob_has_no_range() -> None:
    for header in ("bytes=0-", "bytes=0-0", "bytes=-1"):
        with pytest.raises(Unsatisfiable):
            requested_range(header, 0)


@given(st.text(max_size=40) | st.from_regex(r"bytes=[0-9]{0,25}-[0-9]{0,25}", fullmatch=True), st.integers(0, 2**48))
def test_any_header_gives_a_range_within_the_blob_or_our_error(header: str, size: int) -> None:
    try:
        span = requested_range(header, size)
    except Unsatisfiable:
        return

    assert span is None or 0 <= span.start < span.stop <= size


def test_a_chunk_names_its_first_and_its_last_byte() -> None:
    assert chunk_range("0-0") == ByteRange(0, 1)
    assert chunk_range("10-19") == ByteRange(10, 20)


@pytest.mark.parametrize(
    "header", ["", "-", "1-", "-1", "5-3", "bytes 0-1/2", "0-1/2", "a-b", "0-" + "9" * 20, "\u0660-\u0661"]
)
def test_anything_else_is_no_chunk(header: str) -> None:
    with pytest.raises(Invalid):
        chunk_range(header)
