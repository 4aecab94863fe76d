"""One request to an upstream: logged in where it wants that, and with its redirects followed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import aiohttp
from yarl import URL

from kraken.core.errors import Invalid
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.oci.references import RepositoryName
from kraken.runtime.clock import Clock
from kraken.runtime.threads import FileThreads
from kraken.upstream.errors import Unreachable
from kraken.upstream.io.answers import failure_of
from kraken.upstream.io.credentials import Credentials
from kraken.upstream.io.login import Login
from kraken.upstream.io.web import Web, site_of, url_from
from kraken.upstream.settings import UpstreamSettings

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_NOTHING: Final = frozenset[int]()

_MAX_REDIRECTS: Final = 5
_MAX_LOGINS: Final = 2
"""Answers 401 to one request that we try to do better after: without a token, and with one that is no longer good."""


class Exchange:
    """Requests to one upstream, and what comes back."""

    def __init__(
        self, settings: UpstreamSettings, threads: FileThreads, clock: Clock, log: Log, metrics: Metrics
    ) -> None:
        """Raises: BadConfig, when the upstream's certificates cannot be used."""
        self._name = settings.name
        self._follows_to_plain_text = settings.insecure_plain_http
        self._base = settings.base_url
        self._home = site_of(URL(self._base))
        self._clock = clock
        self._web = Web(settings)
        credentials = None
        if settings.username is not None and settings.password_file is not None:
            credentials = Credentials(settings.username, settings.password_file, threads)
        self._login = Login(settings, credentials, self._web, clock, log, metrics)

    async def answer(
        self,
        method: str,
        path: str,
        repository: RepositoryName,
        headers: Mapping[str, str],
        also: frozenset[int] = _NOTHING,
    ) -> aiohttp.ClientResponse:
        """A good answer (2xx, 304, or a status of `also`), which the caller closes.

        Raises: what the other answers mean, see `answers`; and what `Login` and `Web` raise.
        """
        authorization = await self._login.authorization(repository)
        logins = 0
        while True:
            response, is_from_home = await self._followed(method, path, headers, authorization)
            if response.status < 300 or response.status == 304 or response.status in also:
                return response
            if response.status != 401 or not is_from_home or logins == _MAX_LOGINS:
                raise await failure_of(response, f"{self._name}, {path}", self._clock, from_home=is_from_home)
            challenges = response.headers.getall("WWW-Authenticate", [])
            response.release()
            authorization = await self._login.renewed(repository, challenges, authorization)
            logins += 1

    async def close(self) -> None:
        await self._login.close()
        await self._web.close()

    async def _followed(
        self, method: str, path: str, headers: Mapping[str, str], authorization: str | None
    ) -> tuple[aiohttp.ClientResponse, bool]:
        """The answer at the end of a chain of redirects, and whether the upstream's own host gave it.

        The authorization goes to that host only, and to nobody once another one was in the chain.
        """
        url, is_home = URL(self._base + path), True
        for _ in range(_MAX_REDIRECTS + 1):
            sent = dict(headers)
            if is_home and authorization is not None:
                sent["Authorization"] = authorization
            response = await self._web.send(method, url, sent)
            if response.status not in _REDIRECTS:
                return response, is_home
            location = response.headers.get("Location", "")
            response.release()
            url = self._next(url, location)
            is_home = is_home and site_of(url) == self._home
        raise Unreachable(f"{self._name}, {path}: more than {_MAX_REDIRECTS} redirects")

    def _next(self, url: URL, location: str) -> URL:
        """Where a redirect leads. Raises: Unreachable, when that is nowhere, or from encryption to plain text."""
        try:
            following = url_from(location, url)
        except Invalid as error:
            raise Unreachable(f"{self._name} redirects: {error}") from error
        site = site_of(following)
        if not (site.is_as_safe_as(site_of(url)) or self._follows_to_plain_text):
            raise Unreachable(f"{self._name} redirects to {site}, in plain text: that needs insecure_plain_http")
        return following
