"""What tunes notifications."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from kraken.core.errors import Invalid
from kraken.core.settings import REQUIRED, Unit, setting
from kraken.notifications.envelope import Action

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, section 5.6.2: token
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")
_OURS = frozenset({"content-type", "content-length", "transfer-encoding", "connection", "kraken-signature"})


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """One webhook."""

    name: str = setting(REQUIRED, meaning="How logs and metrics call it, and its queue: events wait under this name.")
    url: str = setting(REQUIRED, meaning="Where events are posted, http:// or https://.")
    secret_file: Path | None = setting(
        None,
        meaning="A file with the secret that signs each POST in Kraken-Signature; line ends after it do not count. "
        "It is read anew each time.",
    )
    headers: tuple[str, ...] = setting((), meaning="Headers of each POST, as `Name: value`.")
    timeout_seconds: float = setting(
        5.0, unit=Unit.SECONDS, low=0.05, high=300, meaning="A POST that is not answered within this time has failed."
    )
    threshold: int = setting(
        3, low=1, meaning="After this many failures in a row the pause between attempts doubles with each further one."
    )
    backoff_seconds: float = setting(
        1.0, unit=Unit.SECONDS, low=0.01, meaning="The pause after a failure, before it begins to double."
    )
    max_backoff_seconds: float = setting(
        300.0, unit=Unit.SECONDS, low=0.01, meaning="The longest pause. Chance takes up to half of any pause away."
    )
    max_batch: int = setting(50, low=1, high=1000, meaning="At most this many events in one POST.")
    ignore_actions: tuple[Action, ...] = setting(
        (Action.PULL,), meaning="Events that are not sent there. Fleets pull a lot: [] sends pulls, too."
    )
    ignore_media_types: tuple[str, ...] = setting((), meaning="Events about such targets are not sent there.")
    ignore_repositories: tuple[str, ...] = setting(
        (),
        meaning="Regular expressions; events of repositories whose whole name matches one are not sent there.",
    )

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise Invalid(f"name {self.name!r} should be up to 63 lower-case letters, digits and ._- led by no sign")
        _check_url(self.url)
        _check_headers(self.headers)
        for pattern in self.ignore_repositories:
            _check_pattern(pattern)
        if self.backoff_seconds > self.max_backoff_seconds:
            raise Invalid(
                f"backoff_seconds {self.backoff_seconds} is above max_backoff_seconds {self.max_backoff_seconds}"
            )


@dataclass(frozen=True, slots=True)
class NotificationSettings:
    """Webhooks that are told what happens."""

    endpoints: tuple[EndpointSettings, ...] = setting((), meaning="The webhooks. Each has a queue of its own.")
    max_events: int = setting(
        10_000,
        low=1,
        meaning="At most this many events wait for one endpoint; beyond it the oldest pulls go first, then the oldest.",
    )
    drain_seconds: float = setting(
        5.0,
        unit=Unit.SECONDS,
        low=0,
        meaning="How long a stopping proxy still delivers what waits; the rest waits on disk for its next start.",
    )

    def __post_init__(self) -> None:
        names = [endpoint.name for endpoint in self.endpoints]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise Invalid(f"two endpoints have the name {twice[0]}")


def header_of(line: str) -> tuple[str, str]:
    """Name and value of a header in the settings."""
    name, _, value = line.partition(":")
    return name.strip(), value.strip()


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of a port or an IPv6 address
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise Invalid(f"url {url!r} should be http://host[:port]/path or https://host[:port]/path")


def _check_headers(lines: tuple[str, ...]) -> None:
    """The values may be secrets, so no message tells them."""
    seen: set[str] = set()
    for line in lines:
        name, value = header_of(line)
        if ":" not in line or not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise Invalid(f"headers has an entry of {len(line)} characters that is not Name: value in ASCII")
        if name.lower() in _OURS:
            raise Invalid(f"headers has {name}, which Kraken itself sets")
        if name.lower() in seen:
            raise Invalid(f"headers has {name} twice")
        seen.add(name.lower())


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise Invalid(f"ignore_repositories has {pattern!r}, which is no regular expression: {error}") from error
