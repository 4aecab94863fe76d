"""Who is sent a password or a token, and who is not: against servers that do what the test tells them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.helpers.certificates import Authority
from tests.helpers.scripted_site import (
    Answer,
    Registry,
    Store,
    TokenServer,
    body,
    redirect,
    running_sites,
    status,
    unauthorizing,
)
from tests.helpers.upstream_client import APP, BLOB, IMAGE, LATEST, OTHER, client_of

from kraken.core.errors import KrakenError, NotFound, Rejected
from kraken.upstream.errors import Denied, LoginRefused, Throttled, Unreachable

BASIC = "Basic " + base64.b64encode(b"u:secret").decode()


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    site = Registry()
    site.add_image(IMAGE, "latest")
    site.add(BLOB.data)
    async with running_sites(site):
        yield site


@pytest.fixture
async def tokens() -> AsyncIterator[TokenServer]:
    site = TokenServer()
    async with running_sites(site):
        yield site


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """Where the registry redirects to; like S3, it refuses what has two ways to prove who asks."""
    site = Store()
    site.add(BLOB.data)
    async with running_sites(site):
        yield site


@pytest.fixture
def user(tmp_path: Path) -> dict[str, object]:
    """The settings of a user with a password."""
    file = tmp_path / "password"
    file.write_text("secret")
    return {"username": "u", "password_file": file}


def renew(user: dict[str, object], password: str) -> None:
    """Put another password into the file."""
    Path(str(user["password_file"])).write_text(password)


def wants_token(registry: Registry, realm: str, *good: str, scope: str = "repository:team/app:pull") -> None:
    registry.challenge = f'Bearer realm="{realm}",service="s",scope="{scope}"'
    registry.accepted = {f"Bearer {token}" for token in good}


async def test_an_anonymous_token_is_fetched_once_and_sent_at_once_from_then_on(
    registry: Registry, tokens: TokenServer
) -> None:
    wants_token(registry, f"{tokens.url}/token?a=b", "token-1")
    async with client_of(registry) as client:
        for _ in range(3):
            await client.registry.get_manifest(APP, LATEST)

    assert [seen.authorization for seen in registry.seen] == [None, *["Bearer token-1"] * 3]
    assert [(seen.query, seen.authorization) for seen in tokens.seen] == [
        ((("a", "b"), ("service", "s"), ("scope", "repository:team/app:pull")), None)
    ]


async def test_a_password_goes_to_the_token_server_and_not_to_the_registry(
    registry: Registry, tokens: TokenServer, user: dict[str, object]
) -> None:
    wants_token(registry, tokens.url, "token-1")
    tokens.password = BASIC
    async with client_of(registry, **user) as client:
        await client.registry.get_manifest(APP, LATEST)

    assert [seen.authorization for seen in tokens.seen] == [BASIC]
    assert ("account", "u") in tokens.seen[0].query
    assert [seen.authorization for seen in registry.seen] == [None, "Bearer token-1"]


async def test_a_crowd_needs_one_token(registry: Registry, tokens: TokenServer) -> None:
    wants_token(registry, tokens.url, "token-1")
    async with client_of(registry) as client:
        await asyncio.gather(*(client.registry.head_manifest(APP, LATEST) for _ in range(100)))

    assert tokens.given == 1


async def test_each_repository_has_its_own(registry: Registry, tokens: TokenServer) -> None:
    wants_token(registry, tokens.url, "token-1", "token-2", scope="")
    async with client_of(registry) as client:
        for repository in (APP, OTHER, APP):
            await client.registry.head_manifest(repository, LATEST)

    assert [dict(seen.query)["scope"] for seen in tokens.seen] == [
        "repository:team/app:pull",
        "repository:team/other:pull",
    ]


async def test_a_token_is_renewed_before_it_expires(registry: Registry, tokens: TokenServer) -> None:
    wants_token(registry, tokens.url, "token-1", "token-2")
    tokens.expires_in = 100
    async with client_of(registry) as client:
        await client.registry.head_manifest(APP, LATEST)
        client.clock.move(89.0)
        await client.registry.head_manifest(APP, LATEST)
        assert tokens.given == 1
        client.clock.move(1.0)
        await client.registry.head_manifest(APP, LATEST)

    assert [seen.authorization for seen in registry.seen][-2:] == ["Bearer token-1", "Bearer token-2"]


async def test_a_token_that_is_no_longer_good_is_replaced_once(registry: Registry, tokens: TokenServer) -> None:
    wants_token(registry, tokens.url, "token-1")
    async with client_of(registry) as client:
        await client.registry.head_manifest(APP, LATEST)
        registry.challenge = f'{registry.challenge},error="invalid_token"'
        registry.accepted = {"Bearer token-2"}
        await client.registry.head_manifest(APP, LATEST)
        assert tokens.given == 2

        registry.accepted = set()
        with pytest.raises(Denied, match="HTTP status 401"):
            await client.registry.head_manifest(APP, LATEST)
        assert tokens.given == 4
        assert len(registry.seen) == 7


async def test_a_token_server_that_moved_is_found(registry: Registry, tokens: TokenServer) -> None:
    wants_token(registry, tokens.url, "token-1")
    moved = TokenServer()
    async with client_of(registry) as client, running_sites(moved):
        await client.registry.head_manifest(APP, LATEST)
        client.clock.move(60.0)
        await tokens.stop()
        wants_token(registry, moved.url, "token-1")

        with pytest.raises(Unreachable, match="cannot connect"):
            await client.registry.head_manifest(APP, LATEST)
        assert await client.registry.head_manifest(APP, LATEST) == IMAGE.digest


async def test_a_token_that_is_too_weak_is_not_tried_again(registry: Registry, tokens: TokenServer) -> None:
    wants_token(registry, tokens.url)
    registry.script.append(unauthorizing(registry.challenge or ""))
    registry.challenge = f'{registry.challenge},error="insufficient_scope"'
    async with client_of(registry) as client:
        with pytest.raises(Denied, match="insufficient_scope"):
            await client.registry.head_manifest(APP, LATEST)

    assert (tokens.given, len(registry.seen)) == (1, 2)


async def test_a_password_that_is_refused_is_not_sent_again_until_it_is_another_one(
    registry: Registry, tokens: TokenServer, user: dict[str, object]
) -> None:
    wants_token(registry, tokens.url, "token-1")
    tokens.password = "Basic " + base64.b64encode(b"u:new").decode()
    async with client_of(registry, **user) as client:
        with capture_logs() as logs:
            with pytest.raises(LoginRefused, match="incorrect username or password"):
                await client.registry.head_manifest(APP, LATEST)
            for _ in range(3):
                with pytest.raises(LoginRefused, match="has refused the password of u"):
                    await client.registry.head_manifest(APP, LATEST)
        assert [line["event"] for line in logs] == ["upstream_login_refused"]
        assert len(tokens.seen) == 1

        renew(user, "new")
        assert await client.registry.head_manifest(APP, LATEST) == IMAGE.digest


async def test_a_refused_password_is_tried_again_after_a_minute(registry: Registry, user: dict[str, object]) -> None:
    registry.challenge = 'Basic realm="r"'
    async with client_of(registry, **user) as client:
        with pytest.raises(LoginRefused):
            await client.registry.head_manifest(APP, LATEST)
        registry.accepted = {BASIC}
        client.clock.move(59.0)
        with pytest.raises(LoginRefused):
            await client.registry.head_manifest(APP, LATEST)
        client.clock.move(1.0)
        assert await client.registry.head_manifest(APP, LATEST) == IMAGE.digest


async def test_basic_is_sent_at_once_after_it_was_asked_for_once(registry: Registry, user: dict[str, object]) -> None:
    registry.challenge, registry.accepted = 'Basic realm="r"', {BASIC}
    async with client_of(registry, **user) as client:
        await client.registry.head_manifest(APP, LATEST)
        await client.registry.head_manifest(OTHER, LATEST)

    assert [seen.authorization for seen in registry.seen] == [None, BASIC, BASIC]


async def test_nothing_is_sent_to_who_does_not_ask(registry: Registry, user: dict[str, object]) -> None:
    async with client_of(registry, **user) as client:
        await client.registry.get_manifest(APP, LATEST)

    assert [seen.authorization for seen in registry.seen] == [None]


@pytest.mark.parametrize("challenge", ["Negotiate", 'Digest realm="r", nonce="n"', ""])
async def test_a_login_that_we_do_not_know_is_a_denial(registry: Registry, challenge: str) -> None:
    registry.challenge = challenge
    async with client_of(registry) as client:
        with pytest.raises(Denied, match="neither Basic nor Bearer"):
            await client.registry.head_manifest(APP, LATEST)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (status(403), Denied),
        (status(401), Denied),
        (status(404), NotFound),
        (status(400), Rejected),
        (status(429, Retry_After="100"), Throttled),
        (status(302, Location="http://127.0.0.1:1/"), Unreachable),
        (status(502), Unreachable),
        (body(b"{}"), Unreachable),
        (body(b"x" * 70_000), Unreachable),
    ],
)
async def test_a_token_server_that_gives_no_token_says_why(
    registry: Registry,
    tokens: TokenServer,
    answer: Answer,
    error: type[KrakenError],
) -> None:
    wants_token(registry, tokens.url)
    tokens.script.append(answer)
    async with client_of(registry) as client:
        with pytest.raises(error) as caught:
            await client.registry.head_manifest(APP, LATEST)
    assert type(caught.value) is error
    assert (len(tokens.seen), len(registry.seen)) == (1, 1)


async def test_a_store_gets_no_authorization(registry: Registry, store: Store, user: dict[str, object]) -> None:
    registry.challenge, registry.accepted = 'Basic realm="r"', {BASIC}
    async with client_of(registry, **user) as client:
        await client.registry.head_manifest(APP, LATEST)
        registry.script.append(redirect(f"{store.url}/signed/{BLOB.digest}?sig=a%2Bb%3D"))
        assert await client.blob(BLOB.digest) == BLOB.data

    assert registry.seen[-1].authorization == BASIC
    assert [(seen.authorization, seen.query) for seen in store.seen] == [(None, (("sig", "a+b="),))]


async def test_an_authorization_does_not_come_back_by_a_detour(
    registry: Registry, store: Store, user: dict[str, object]
) -> None:
    registry.challenge, registry.accepted = 'Basic realm="r"', {BASIC}
    async with client_of(registry, **user) as client:
        await client.registry.head_manifest(APP, LATEST)
        registry.script.append(redirect(f"{store.url}/detour"))
        store.script.append(redirect(f"{registry.url}/v2/_catalog"))
        with pytest.raises(Unreachable, match="401"):
            await client.blob(BLOB.digest)

    assert [seen.authorization for seen in (*registry.seen[-2:], *store.seen)] == [BASIC, None, None]


async def test_a_redirect_within_the_registry_keeps_it(registry: Registry, user: dict[str, object]) -> None:
    registry.challenge, registry.accepted = 'Basic realm="r"', {BASIC}
    async with client_of(registry, **user) as client:
        await client.registry.head_manifest(APP, LATEST)
        registry.script.append(redirect(f"/elsewhere/{BLOB.digest}"))
        assert await client.blob(BLOB.digest) == BLOB.data

    assert registry.seen[-1].authorization == BASIC


async def test_who_we_were_redirected_to_cannot_ask_for_a_login(
    registry: Registry, store: Store, tokens: TokenServer, user: dict[str, object]
) -> None:
    registry.script.append(redirect(store.url))
    store.script.append(unauthorizing(f'Bearer realm="{tokens.url}",service="s"'))
    async with client_of(registry, **user) as client:
        with pytest.raises(Unreachable):
            await client.blob(BLOB.digest)

    assert (tokens.seen, store.seen[0].authorization) == ([], None)


async def test_a_realm_or_a_store_in_plain_text_is_not_for_an_encrypted_registry(
    store: Store, tokens: TokenServer, user: dict[str, object], tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    registry = Registry(authority.issue("registry").context())
    wants_token(registry, tokens.url, "token-1")
    trusted = {"ca_file": authority.certificate}
    async with running_sites(registry):
        async with client_of(registry, **user, **trusted) as client:
            with pytest.raises(LoginRefused, match="in plain text: that needs insecure_plain_http"):
                await client.registry.head_manifest(APP, LATEST)
        async with client_of(registry, **trusted) as client:
            with pytest.raises(LoginRefused, match="in plain text"):
                await client.registry.head_manifest(APP, LATEST)
            registry.script.append(redirect(f"{store.url}/{BLOB.digest}"))
            with pytest.raises(Unreachable, match="in plain text"):
                await client.blob(BLOB.digest)
        assert (tokens.seen, store.seen) == ([], [])

        async with client_of(registry, **user, **trusted, insecure_plain_http=True) as client:
            registry.script.append(redirect(f"{store.url}/{BLOB.digest}"))
            assert await client.blob(BLOB.digest) == BLOB.data
            with pytest.raises(NotFound):
                await client.registry.head_manifest(APP, LATEST)
        assert tokens.seen[0].authorization == BASIC


async def test_a_password_does_not_leave_this_machine_in_plain_text(
    registry: Registry, tokens: TokenServer, user: dict[str, object]
) -> None:
    wants_token(registry, "http://192.0.2.1/token", "token-1")
    async with client_of(registry, **user) as client:
        with pytest.raises(LoginRefused, match=r"login at http://192\.0\.2\.1:80, in plain text"):
            await client.registry.head_manifest(APP, LATEST)

        wants_token(registry, tokens.url, "token-1")
        assert await client.registry.head_manifest(APP, LATEST) == IMAGE.digest


async def test_only_the_registry_itself_goes_unverified(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate = authority.issue("both").context()
    registry, store = Registry(certificate), Store(certificate)
    registry.add(BLOB.data)
    store.add(BLOB.data)
    async with running_sites(registry, store), client_of(registry, insecure_skip_verify=True) as client:
        assert await client.blob(BLOB.digest) == BLOB.data
        there = f"{store.url.replace('127.0.0.1', 'localhost')}/{BLOB.digest}"
        registry.script.append(redirect(there))
        with pytest.raises(Unreachable, match="not trusted"):
            await client.blob(BLOB.digest)
    assert store.seen == []


@pytest.mark.parametrize("location", ["", "ftp://x/y", "http://a b/"])
async def test_a_redirect_to_nowhere_is_a_failure(registry: Registry, location: str) -> None:
    registry.script.append(redirect(location))
    async with client_of(registry) as client:
        with pytest.raises(Unreachable, match="redirects"):
            await client.registry.get_manifest(APP, LATEST)


async def test_redirects_end(registry: Registry) -> None:
    registry.script.extend(redirect("/again") for _ in range(20))
    async with client_of(registry) as client:
        with pytest.raises(Unreachable, match="more than 5 redirects"):
            await client.registry.get_manifest(APP, LATEST)
    assert len(registry.seen) == 6
