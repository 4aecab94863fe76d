"""HTTP to an upstream and to those it refers to: one request, with deadlines and verified TLS.

Nothing here follows a redirect, keeps a cookie or knows a password: who does decides where it goes.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

from kraken import __version__
from kraken.core.errors import BadConfig, Invalid
from kraken.core.pieces import KIB
from kraken.upstream.errors import Unreachable
from kraken.upstream.settings import UpstreamSettings
from kraken.upstream.sites import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

_READ_BUFFER: Final = 256 * KIB
_MAX_LINE: Final = 16 * KIB
"""Signed URLs in redirects are long."""

_URL_SAFE: Final = re.compile(r"[!-~]{1,16384}")


def site_of(url: URL) -> Site:
    """Where a request for `url` goes. Raises: Invalid, when it goes nowhere."""
    return Site(url.scheme, (url.raw_host or "").lower(), url.port or 0)


def url_from(text: str, base: URL) -> URL:
    """Admit a URL that an upstream gave, relative to `base` perhaps. It is sent as it came: it may be signed.

    Raises: Invalid, when it is no URL or goes nowhere.
    """
    if not _URL_SAFE.fullmatch(text):
        raise Invalid(f"{text[:200]!r} is not a URL")
    try:
        url = base.join(URL(text, encoded=True))
        site_of(url)
    except ValueError as error:
        raise Invalid(f"{text[:200]!r} is not a URL that can be followed: {error}") from error
    return url.with_user(None) if url.raw_user is not None else url


class Web:
    """The connections of one upstream."""

    def __init__(self, settings: UpstreamSettings) -> None:
        """Raises: BadConfig, when the file of authorities cannot be used."""
        self._settings = settings
        self._home = site_of(URL(settings.base_url))
        self._tls = _context(settings)
        self._unverified_tls = _context(settings)
        self._unverified_tls.check_hostname = False
        self._unverified_tls.verify_mode = ssl.CERT_NONE
        self._session: aiohttp.ClientSession | None = None

    async def send(self, method: str, url: URL, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """The head of an answer, whatever it says; its body is read by `chunks`. The caller closes it.

        Raises: Unreachable.
        """
        with _translated(url):
            return await self._open().request(
                method, url, headers=headers, allow_redirects=False, ssl=self._tls_for(site_of(url))
            )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _tls_for(self, site: Site) -> ssl.SSLContext:
        """Only the host that the setting is about goes unverified; whom it refers to does not."""
        is_home = site.host == self._home.host
        return self._unverified_tls if self._settings.insecure_skip_verify and is_home else self._tls

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            settings = self._settings
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=settings.max_connections, keepalive_timeout=30.0),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=settings.connect_seconds, sock_read=settings.idle_seconds
                ),
                auto_decompress=False,
                read_bufsize=_READ_BUFFER,
                max_line_size=_MAX_LINE,
                max_field_size=_MAX_LINE,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"kraken/{__version__}", "Accept-Encoding": "identity"},
            )
        return self._session


async def chunks(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """The body of an answer as it comes. Raises: Unreachable, when it breaks off or stalls."""
    with _translated(response.url):
        async for chunk in response.content.iter_any():
            yield chunk


async def read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The whole body of an answer. Raises: Unreachable, also when it is longer than `max_bytes`."""
    data = bytearray()
    async for chunk in chunks(response):
        data += chunk
        if len(data) > max_bytes:
            raise Unreachable(f"{_plain(response.url)} answered more than {max_bytes} bytes")
    return bytes(data)


@contextmanager
def _translated(url: URL) -> Iterator[None]:
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        raise Unreachable(
            f"{_plain(url)}: its certificate is not trusted ({error.certificate_error}); "
            "set ca_file to the authority that signed it"
        ) from error
    except (aiohttp.ClientError, TimeoutError, ssl.SSLError) as error:
        raise Unreachable(f"{_plain(url)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return f"cannot connect: {os.strerror(number) if number and number > 0 else error.os_error}"
    return str(error) or type(error).__name__


def _plain(url: URL) -> str:
    """A URL fit for a log: its query may be a signature."""
    return str(url.with_query(None))


def _context(settings: UpstreamSettings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.ca_file is not None:
        try:
            context.load_verify_locations(cafile=settings.ca_file)
        except OSError as error:  # ssl.SSLError, for what is no certificate, is one
            raise BadConfig(f"ca_file {settings.ca_file} of {settings.name} cannot be used: {error}") from error
    return context
