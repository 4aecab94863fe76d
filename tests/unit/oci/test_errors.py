"""Errors in the form of the registry protocol."""

from __future__ import annotations

import json

import pytest

from kraken.core.errors import Corrupt, Invalid, KrakenError, NotFound, OutOfSpace, Rejected, Unavailable
from kraken.oci.errors import BLOB_READ, UPLOAD, Blame, Code, Problem, RegistryError, as_registry_error


@pytest.mark.parametrize(
    ("error", "blame", "code", "status"),
    [
        (NotFound("x"), BLOB_READ, Code.BLOB_UNKNOWN, 404),
        (NotFound("x"), UPLOAD, Code.BLOB_UPLOAD_UNKNOWN, 404),
        (Rejected("x"), UPLOAD, Code.BLOB_UPLOAD_INVALID, 400),
        (Invalid("x"), BLOB_READ, Code.DIGEST_INVALID, 400),
        (Unavailable("x"), UPLOAD, Code.BLOB_UPLOAD_INVALID, 503),
        (Unavailable("x"), BLOB_READ, Code.TOOMANYREQUESTS, 503),
        (OutOfSpace("x"), UPLOAD, Code.BLOB_UPLOAD_INVALID, 507),
        (Corrupt("x"), BLOB_READ, Code.UNSUPPORTED, 500),
        (KrakenError("x"), BLOB_READ, Code.UNSUPPORTED, 500),
    ],
)
def test_a_core_error_gets_the_code_of_its_kind_of_request(
    error: KrakenError, blame: Blame, code: Code, status: int
) -> None:
    told = as_registry_error(error, blame)

    assert (told.problems[0].code, told.status) == (code, status)


def test_what_may_work_later_says_when() -> None:
    told = as_registry_error(Unavailable("x", retry_after=2.4), UPLOAD)

    assert told.headers == {"Retry-After": "2"}


def test_an_error_of_the_protocol_stays_as_it_is() -> None:
    error = RegistryError(Code.SIZE_INVALID, "x")

    assert as_registry_error(error, UPLOAD) is error


def test_the_body_lists_every_problem() -> None:
    more = [Problem(Code.MANIFEST_BLOB_UNKNOWN, "second", {"digest": "sha256:1"})]
    error = RegistryError(Code.MANIFEST_BLOB_UNKNOWN, "first", more=more)

    assert json.loads(error.body()) == {
        "errors": [
            {"code": "MANIFEST_BLOB_UNKNOWN", "message": "first", "detail": {}},
            {"code": "MANIFEST_BLOB_UNKNOWN", "message": "second", "detail": {"digest": "sha256:1"}},
        ]
    }
