from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.core.errors import Invalid
from kraken.upstream.challenge import MAX_HEADER_CHARACTERS, Basic, Bearer, parse_challenges, scope_to_ask

DOCKER_HUB = (
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/app:pull"'
)


def bearer(realm: str = "https://a/token", service: str = "", scope: str = "", error: str = "") -> Bearer:
    return Bearer(realm, service, scope, error)


@pytest.mark.parametrize(
    ("headers", "challenges"),
    [
        ([DOCKER_HUB], [bearer("https://auth.docker.io/token", "registry.docker.io", "repository:library/app:pull")]),
        (['Basic realm="Registry Realm"'], [Basic("Registry Realm")]),
        (["Basic"], [Basic("")]),
        (['BASIC Realm="r", BEARER realm="https://a/token"'], [Basic("r"), bearer()]),
        (['Bearer realm="https://a/token"', 'Basic realm="r"'], [bearer(), Basic("r")]),
        (['Negotiate, Basic realm="r", NTLM'], [Basic("r")]),
        (['Negotiate YWJj==, Basic realm="r"'], [Basic("r")]),
        (['Digest realm="d", nonce="n,=", qop="auth,auth-int", Basic realm="r"'], [Basic("r")]),
        (['Bearer realm="https://a/token" , , error="invalid_token"'], [bearer(error="invalid_token")]),
        (["Bearer realm=https://a/token, service=s"], [bearer(service="s")]),
        (['Bearer realm = "https://a/token", service\t=\t"s"'], [bearer(service="s")]),
        (['Bearer realm="https://a/token" service="s"'], [bearer(service="s")]),
        ([r'Basic realm="a \"b\" \\ c, d=e"'], [Basic(r'a "b" \ c, d=e')]),
        (['Bearer service="nowhere"'], []),
        ([], []),
        (["", "  "], []),
    ],
)  # fmt: skip
def test_challenges_are_read_as_registries_write_them(headers: list[str], challenges: list[Basic | Bearer]) -> None:
    assert parse_challenges(headers) == challenges


@pytest.mark.parametrize(
    "header",
    [
        'realm="r"',
        'Bearer realm="https://a/token", realm="https://b/token"',
        'Bearer realm="https://a/token',
        "Bearer \x00",
        '"quoted"',
        "Bearer " + "a=b," * (MAX_HEADER_CHARACTERS // 4),
    ],
)
def test_what_can_be_misread_is_refused(header: str) -> None:
    with pytest.raises(Invalid):
        parse_challenges([header])


@given(st.lists(st.text(max_size=200), max_size=3))
def test_any_text_gives_challenges_or_our_error(headers: list[str]) -> None:
    with contextlib.suppress(Invalid):
        parse_challenges(headers)


@given(st.text('Bearerealm="\\, \t', max_size=60))
def test_texts_close_to_challenges_give_challenges_or_our_error(text: str) -> None:
    with contextlib.suppress(Invalid):
        assert all(isinstance(it, Basic | Bearer) for it in parse_challenges([f"Bearer {text}"]))


_values = st.text(st.characters(codec="latin-1", exclude_categories=["C"]), max_size=30)


@given(_values.filter(bool), _values, _values, _values)
def test_quoted_values_come_back_as_they_were(realm: str, service: str, scope: str, error: str) -> None:
    named = {"realm": realm, "service": service, "scope": scope, "error": error}
    quoted = [name + '="' + value.replace("\\", r"\\").replace('"', r"\"") + '"' for name, value in named.items()]

    assert parse_challenges(["Basic, Bearer " + ", ".join(quoted)]) == [Basic(""), Bearer(**named)]


def test_a_long_hostile_header_is_read_in_no_time() -> None:
    for part in ('a="', 'a="\\', "a ", "a=,", '="', "\\", " \t"):
        with contextlib.suppress(Invalid):
            parse_challenges(["Bearer " + part * (MAX_HEADER_CHARACTERS // len(part) - 8)])


@pytest.mark.parametrize(
    ("challenged", "asked"),
    [
        ("", "repository:app:pull"),
        ("repository:app:pull", "repository:app:pull"),
        ("repository:proxy/app:pull,push,delete", "repository:proxy/app:pull"),
        ("repository:app:push,pull repository:app:pull", "repository:app:pull"),
        ("repository:a:pull repository:b:pull", "repository:a:pull repository:b:pull"),
        ("repository(plugin):app:pull", "repository(plugin):app:pull"),
        ("repository:host:5000/app:pull", "repository:host:5000/app:pull"),
        ("registry:catalog:*", "repository:app:pull"),
        ("repository:app:push", "repository:app:pull"),
        ("pull :pull repository::pull registry:pull", "repository:app:pull"),
    ],
)
def test_a_token_is_asked_for_reading_and_for_nothing_else(challenged: str, asked: str) -> None:
    assert scope_to_ask(bearer(scope=challenged), "app") == asked
