from __future__ import annotations

import pytest

from kraken.core.errors import Invalid
from kraken.core.pieces import MAX_BLOB_SIZE
from kraken.upstream.resuming import Part, Progress, part_of


@pytest.mark.parametrize(
    ("received", "status", "content_range", "content_length", "part"),
    [
        (0, 200, None, 100, Part(0, 100)),
        (0, 200, None, None, Part(0, None)),
        (40, 206, "bytes 40-99/100", 60, Part(0, 100)),
        (40, 206, "bytes 40-59/100", 20, Part(0, 100)),
        (40, 206, "bytes 40-99/*", 60, Part(0, None)),
        (40, 200, None, 100, Part(40, 100)),
        (40, 200, None, None, Part(40, None)),
    ],
)
def test_the_rest_of_a_blob_is_found_in_the_answer(
    received: int, status: int, content_range: str | None, content_length: int | None, part: Part
) -> None:
    assert part_of(status, content_range, content_length, Progress(received, None)) == part


@pytest.mark.parametrize(
    ("received", "status", "content_range"),
    [
        (0, 206, "bytes 0-99/100"),
        (40, 206, "bytes 0-99/100"),
        (40, 206, "bytes 41-99/100"),
        (40, 206, None),
        (40, 206, "pages 40-99/100"),
        (40, 206, "bytes 40-99/" + "9" * 16),
        (40, 204, None),
    ],
)
def test_other_bytes_than_those_asked_for_are_refused(received: int, status: int, content_range: str | None) -> None:
    with pytest.raises(Invalid):
        part_of(status, content_range, 60, Progress(received, 100))


def test_a_blob_that_changes_its_size_is_refused() -> None:
    assert part_of(206, "bytes 40-99/100", 60, Progress(40, 100)) == Part(0, 100)
    with pytest.raises(Invalid, match="100 bytes and now has 101"):
        part_of(206, "bytes 40-100/101", 61, Progress(40, 100))


def test_a_blob_beyond_every_limit_is_refused() -> None:
    assert part_of(200, None, MAX_BLOB_SIZE, Progress()) == Part(0, MAX_BLOB_SIZE)
    with pytest.raises(Invalid):
        part_of(200, None, MAX_BLOB_SIZE + 1, Progress())


def test_progress_reads_as_a_sentence() -> None:
    assert str(Progress(5, 10)) == "5 of 10 bytes"
    assert str(Progress(5, None)) == "5 of an unknown number of bytes"


def test_more_than_a_blob_has_is_too_much() -> None:
    assert not Progress(10, 10).is_too_much
    assert Progress(11, 10).is_too_much
    assert not Progress(MAX_BLOB_SIZE, None).is_too_much
    assert Progress(MAX_BLOB_SIZE + 1, None).is_too_much
