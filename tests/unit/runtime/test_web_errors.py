from __future__ import annotations

import msgspec
import pytest

from kraken.core.errors import (
    Corrupt,
    Invalid,
    KrakenError,
    NotFound,
    OffsetMismatch,
    OutOfSpace,
    Rejected,
    Unavailable,
)
from kraken.runtime.web_errors import error_from, error_response, status_of

ORIGIN = "127.0.0.1:5010/blobs"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Invalid("x"), 400),
        (Rejected("x"), 400),
        (NotFound("x"), 404),
        (OffsetMismatch(7), 416),
        (Unavailable("x"), 503),
        (OutOfSpace("x"), 507),
        (Corrupt("x"), 500),
        (KrakenError("x"), 500),
    ],
)
def test_each_class_has_its_status(error: KrakenError, status: int) -> None:
    assert status_of(error) == status
    assert error_response(error).status == status


@pytest.mark.parametrize("kind", [Invalid, Rejected, NotFound, Unavailable, OutOfSpace, Corrupt])
def test_an_error_comes_out_of_the_wire_as_the_class_that_went_in(kind: type[KrakenError]) -> None:
    response = error_response(kind("no such thing"))

    error = error_from(response.status, bytes_of(response.body), ORIGIN)

    assert type(error) is kind
    assert str(error) == f"{ORIGIN}: no such thing"


def test_the_time_to_wait_and_the_offset_travel_along() -> None:
    full = error_response(OutOfSpace("full", retry_after=7.5))
    shifted = error_response(OffsetMismatch(77))

    came_back = error_from(507, bytes_of(full.body), ORIGIN)
    mismatch = error_from(416, bytes_of(shifted.body), ORIGIN)

    assert full.headers["Retry-After"] == "8"
    assert isinstance(came_back, OutOfSpace)
    assert came_back.retry_after == 7.5
    assert isinstance(mismatch, OffsetMismatch)
    assert mismatch.offset == 77


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, NotFound),
        (400, Rejected),
        (403, Rejected),
        (408, Unavailable),
        (429, Unavailable),
        (500, Unavailable),
        (502, Unavailable),
    ],
)
@pytest.mark.parametrize("data", [b"", b"<html>", b"[1]", b'{"error":"Mystery","message":"x"}', b"\xff\xfe"])
def test_an_answer_of_somebody_else_is_judged_by_its_status(status: int, kind: type[KrakenError], data: bytes) -> None:
    assert type(error_from(status, data, ORIGIN)) is kind


def test_a_body_that_contradicts_its_status_is_not_believed() -> None:
    body = msgspec.json.encode({"error": "NotFound", "message": "gone"})

    assert type(error_from(503, body, ORIGIN)) is Unavailable


def bytes_of(body: object) -> bytes:
    assert isinstance(body, bytes)
    return body
