from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.core.errors import Invalid
from kraken.upstream.tokens import MAX_TOKENS, Token, TokenCache, TokenKey, parse_token

KEY = TokenKey("https://a/token", "s", "repository:app:pull")


@pytest.mark.parametrize(
    ("answer", "token"),
    [
        ({"token": "t"}, Token("t", 60.0)),
        ({"token": "t", "expires_in": 300}, Token("t", 300.0)),
        ({"access_token": "t", "expires_in": 300.5, "refresh_token": "r"}, Token("t", 300.5)),
        ({"token": "t", "access_token": "other"}, Token("t", 60.0)),
        ({"token": "", "access_token": "t", "expires_in": None}, Token("t", 60.0)),
        ({"token": "t", "expires_in": 0}, Token("t", 60.0)),
        ({"token": "t", "expires_in": -5}, Token("t", 60.0)),
        ({"token": "t", "expires_in": 10**12}, Token("t", 86400.0)),
    ],
)
def test_a_token_is_read_as_token_servers_write_it(answer: dict[str, object], token: Token) -> None:
    assert parse_token(json.dumps(answer).encode()) == token


@pytest.mark.parametrize(
    "answer",
    [b"", b"{}", b"[]", b'{"token":"a\\r\\nX: y"}', b'{"token":"a b"}', '{"token":"é"}'.encode(), b'{"token":1}'],
)
def test_an_answer_without_a_token_for_a_header_is_refused(answer: bytes) -> None:
    with pytest.raises(Invalid):
        parse_token(answer)


@given(st.binary(max_size=100))
def test_any_bytes_give_a_token_or_our_error(answer: bytes) -> None:
    with contextlib.suppress(Invalid):
        parse_token(answer)


def test_a_token_is_not_printed() -> None:
    assert "secret" not in repr(Token("secret", 60.0))


def test_a_token_is_used_for_nine_tenths_of_its_time() -> None:
    cache = TokenCache()
    cache.put(KEY, Token("t", 100.0), now=1000.0)

    assert cache.get(KEY, now=1089.9) == "t"
    assert cache.get(KEY, now=1090.0) is None
    assert len(cache) == 0


def test_each_scope_has_its_own_token() -> None:
    cache = TokenCache()
    cache.put(KEY, Token("t", 100.0), now=0.0)

    assert cache.get(TokenKey(KEY.realm, KEY.service, "repository:other:pull"), now=0.0) is None
    assert cache.get(TokenKey("https://b/token", KEY.service, KEY.scope), now=0.0) is None


def test_only_the_token_that_was_refused_is_dropped() -> None:
    cache = TokenCache()
    cache.put(KEY, Token("new", 100.0), now=0.0)

    cache.drop(KEY, "old")
    assert cache.get(KEY, now=0.0) == "new"

    cache.drop(KEY, "new")
    assert cache.get(KEY, now=0.0) is None
    cache.drop(KEY, "")
    assert len(cache) == 0


def test_the_token_that_was_used_longest_ago_makes_room() -> None:
    cache = TokenCache()
    keys = [TokenKey("https://a/token", "s", str(number)) for number in range(MAX_TOKENS + 1)]
    for key in keys[:-1]:
        cache.put(key, Token("t", 100.0), now=0.0)
    cache.get(keys[0], now=0.0)

    cache.put(keys[-1], Token("t", 100.0), now=0.0)

    assert len(cache) == MAX_TOKENS
    assert cache.get(keys[0], now=0.0) == "t"
    assert cache.get(keys[1], now=0.0) is None
