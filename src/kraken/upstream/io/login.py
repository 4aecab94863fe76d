"""How an upstream is persuaded to let us read: nothing, a password, or a token from whoever it names.

The password goes to the host of the settings, and to the token server that this host named in a challenge over a
connection as safe as its own; to nobody else. A token goes to the host of the settings only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import aiohttp
from yarl import URL

from kraken.core.errors import Invalid, KrakenError
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.oci.references import RepositoryName
from kraken.runtime.clock import Clock
from kraken.runtime.single_flight import SingleFlight
from kraken.upstream.challenge import Basic, Bearer, Challenge, parse_challenges, scope_to_ask
from kraken.upstream.errors import Denied, LoginRefused, Unreachable
from kraken.upstream.io.answers import failure_of
from kraken.upstream.io.credentials import Credentials
from kraken.upstream.io.web import Web, read, site_of, url_from
from kraken.upstream.settings import UpstreamSettings
from kraken.upstream.tokens import MAX_ANSWER_BYTES, TokenCache, TokenKey, parse_token

_MAX_REMEMBERED: Final = 4096
_REFUSED_SECONDS: Final = 60.0
"""A password that was refused is not sent again for so long, lest the account be locked; a new one is, at once."""


class Login:
    """The Authorization headers for one upstream."""

    def __init__(
        self,
        settings: UpstreamSettings,
        credentials: Credentials | None,
        web: Web,
        clock: Clock,
        log: Log,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._web = web
        self._clock = clock
        self._log = log
        self._base = URL(settings.base_url)
        self._tokens = TokenCache()
        self._asking: SingleFlight[TokenKey, str] = SingleFlight("upstream_token", log, metrics)
        self._keys: OrderedDict[RepositoryName, TokenKey] = OrderedDict()  # how each was let in last time
        self._wants_basic = False
        self._refused = ("", 0.0)

    async def authorization(self, repository: RepositoryName) -> str | None:
        """What to send at first, from what was learned of the upstream before; None when that is nothing.

        Raises: Denied, LoginRefused, Throttled, Unavailable: from the token server.
        """
        key = self._keys.get(repository)
        if key is not None:
            return await self._bearer(repository, key)
        if self._wants_basic and self._credentials is not None:
            return await self._basic(self._credentials)
        return None

    async def renewed(self, repository: RepositoryName, headers: Sequence[str], sent: str | None) -> str:
        """What to send after a 401.

        Args: headers, each WWW-Authenticate line of the answer; sent, the Authorization that was not good enough.
        Raises: Denied, when nothing better can be had; LoginRefused; Throttled; Unavailable.
        """
        challenge = self._best(headers)
        if isinstance(challenge, Basic):
            return await self._basic_instead_of(sent)
        if challenge.error == "insufficient_scope" and sent is not None:
            raise Denied(f"{self._settings.name} does not let us read {repository}: insufficient_scope")
        key = TokenKey(challenge.realm, challenge.service, scope_to_ask(challenge, str(repository)))
        self._tokens.drop(key, (sent or "").removeprefix("Bearer "))
        return await self._bearer(repository, key)

    async def close(self) -> None:
        await self._asking.close()

    def _best(self, headers: Sequence[str]) -> Challenge:
        """A token is better than a password: it is good for one thing and not for long."""
        try:
            challenges = parse_challenges(headers)
        except Invalid as error:
            raise Unreachable(f"{self._settings.name}: {error}") from error
        if not challenges:
            raise Denied(f"{self._settings.name} wants a login, and neither Basic nor Bearer will do")
        return next((found for found in challenges if isinstance(found, Bearer)), challenges[0])

    async def _bearer(self, repository: RepositoryName, key: TokenKey) -> str:
        """Where no token can be had, the upstream is asked again next time who gives them."""
        try:
            token = self._tokens.get(key, self._clock.now()) or await self._asking.run(key, lambda: self._new(key))
        except KrakenError:
            self._keys.pop(repository, None)
            raise
        self._remember(repository, key)
        return f"Bearer {token}"

    def _remember(self, repository: RepositoryName, key: TokenKey) -> None:
        self._keys[repository] = key
        self._keys.move_to_end(repository)
        if len(self._keys) > _MAX_REMEMBERED:
            self._keys.popitem(last=False)

    async def _basic_instead_of(self, sent: str | None) -> str:
        if self._credentials is None:
            raise Denied(f"{self._settings.name} wants a password: set username and password_file")
        header = await self._basic(self._credentials)
        if header == sent:
            raise self._refusal(header, f"{self._settings.name} does not take the password")
        self._wants_basic = True
        return header

    async def _basic(self, credentials: Credentials) -> str:
        """Raises: LoginRefused, when this password was refused a short while ago."""
        header = await credentials.basic()
        refused, until = self._refused
        if header == refused and (left := until - self._clock.now()) > 0:
            raise LoginRefused(
                f"{self._settings.name} has refused the password of {credentials.username}: "
                f"it is tried again in {left:.0f} s, or when password_file has another one",
                retry_after=left,
            )
        return header

    def _refusal(self, header: str, why: str) -> LoginRefused:
        self._refused = (header, self._clock.now() + _REFUSED_SECONDS)
        message = f"{why} of {self._settings.username}: check username and password_file"
        self._log.error(Event.UPSTREAM_LOGIN_REFUSED, upstream=self._settings.name, error=message)
        return LoginRefused(message, retry_after=_REFUSED_SECONDS)

    async def _new(self, key: TokenKey) -> str:
        """A fresh token, which is kept."""
        url = self._token_url(key)
        headers = {}
        if self._credentials is not None:
            headers["Authorization"] = await self._basic(self._credentials)
        response = await self._web.send("GET", url, headers)
        if response.status != 200:
            raise await self._no_token(response, headers.get("Authorization"))
        async with response:
            data = await read(response, MAX_ANSWER_BYTES)
        try:
            token = parse_token(data)
        except Invalid as error:
            raise Unreachable(f"the token server {site_of(url)} of {self._settings.name}: {error}") from error
        self._tokens.put(key, token, self._clock.now())
        return token.text

    def _token_url(self, key: TokenKey) -> URL:
        """Raises: LoginRefused, when the upstream names a token server that we must not send anything to."""
        try:
            url = url_from(key.realm, self._base)
        except Invalid as error:
            raise Unreachable(f"the realm of {self._settings.name}: {error}") from error
        site, allowed = site_of(url), self._settings.insecure_plain_http
        safe = site.is_as_safe_as(site_of(self._base)) and (self._credentials is None or site.keeps_secrets)
        if not (safe or allowed):
            raise LoginRefused(
                f"{self._settings.name} wants a login at {site}, in plain text: that needs insecure_plain_http",
                retry_after=_REFUSED_SECONDS,
            )
        query = [("service", key.service)] if key.service else []
        query += [("scope", scope) for scope in key.scope.split()]
        if self._credentials is not None:
            query.append(("account", self._credentials.username))
        return url.extend_query(query)

    async def _no_token(self, response: aiohttp.ClientResponse, sent: str | None) -> Exception:
        status = response.status
        what = f"the token server {site_of(response.url)} of {self._settings.name}"
        failure = await failure_of(response, what, self._clock, from_home=True)
        if status == 401 and sent is not None:
            return self._refusal(sent, f"{failure}; it does not take the password")
        if isinstance(failure, Denied) and sent is None:
            return Denied(f"{failure}; it may want a user: set username and password_file")
        return failure
