"""Names of upload sessions."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.core.errors import Invalid
from kraken.oci.sessions import SessionId


@given(st.uuids(version=4))
def test_the_hex_of_a_random_uuid_is_a_session(value: uuid.UUID) -> None:
    assert str(SessionId(value.hex)) == value.hex


@pytest.mark.parametrize(
    "text",
    ["", "../../etc/passwd", str(uuid.UUID(int=0)), "0" * 32, "0123456789AB4DEF8123456789ABCDEF", "0" * 12 + "4"],
)
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(Invalid):
        SessionId(text)
