from __future__ import annotations

import hashlib
import hmac

import pytest

from kraken.notifications.signature import signature


def test_it_is_the_hmac_of_the_time_and_the_body() -> None:
    expected = hmac.new(b"secret", b'1700000000.{"events":[]}', hashlib.sha256).hexdigest()

    assert signature(b"secret", b'{"events":[]}', 1_700_000_000) == f"t=1700000000,sha256={expected}"


@pytest.mark.parametrize(
    ("secret", "body", "at"), [(b"other", b"body", 1), (b"secret", b"Body", 1), (b"secret", b"body", 2)]
)
def test_it_changes_with_whatever_it_covers(secret: bytes, body: bytes, at: int) -> None:
    mac = signature(b"secret", b"body", 1).partition(",")[2]

    assert signature(secret, body, at).partition(",")[2] != mac
