"""Settings: which registries this cluster mirrors, how each is asked, and how much of it at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from kraken.core.errors import Invalid
from kraken.core.pieces import MIB
from kraken.core.settings import REQUIRED, Unit, setting
from kraken.oci.manifests import CLIENT_MANIFEST_BYTES, MAX_MANIFEST_BYTES
from kraken.oci.namespaces import Namespace
from kraken.upstream.sites import Site

_API_OF_DOCKER_HUB = "https://registry-1.docker.io"
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """One registry that is mirrored."""

    name: str = setting(
        REQUIRED,
        meaning="What image names call it, such as docker.io or host:5000. Its repositories are called docker.io/... "
        "or host_5000/... in this cluster.",
    )
    url: str | None = setting(
        None,
        meaning="Where it is asked, without /v2/. https:// and the name, where null; https://registry-1.docker.io for "
        "docker.io.",
    )
    username: str | None = setting(None, meaning="Whom it knows us as; null asks as anybody.")
    password_file: Path | None = setting(
        None, meaning="A file with the password or token of that user. It is read again when it changes."
    )
    ca_file: Path | None = setting(
        None, meaning="Certificates (PEM) of authorities that are trusted besides those of the system."
    )
    insecure_skip_verify: bool = setting(
        False, meaning="Do not check the certificate of its host. Whoever is on the way can then read the password."
    )
    insecure_plain_http: bool = setting(
        False,
        meaning="Send credentials beyond loopback without encryption, and follow an https registry to http.",
    )
    revalidate_seconds: float = setting(
        60.0,
        unit=Unit.SECONDS,
        low=0,
        meaning="What a tag means is asked again when it was last confirmed so long ago, once for the whole cluster.",
    )
    serve_stale: bool = setting(
        True,
        meaning="While it cannot be asked, a tag means what it last meant. Each such answer is logged and counted.",
    )
    connect_seconds: float = setting(
        5.0, unit=Unit.SECONDS, low=0.01, meaning="A connection that is not open within this time has failed."
    )
    idle_seconds: float = setting(
        20.0, unit=Unit.SECONDS, low=0.01, meaning="An answer that brings no byte for this long has failed."
    )
    answer_seconds: float = setting(
        30.0,
        unit=Unit.SECONDS,
        low=0.01,
        meaning="A manifest, or the head of any other answer, that is not here within this time has failed.",
    )
    throttle_wait_seconds: float = setting(
        2.0,
        unit=Unit.SECONDS,
        low=0,
        meaning="When it asks to be left alone (429, Retry-After) for no longer, a pull waits; else it fails.",
    )
    failures_to_open: int = setting(
        3, low=1, meaning="After so many requests in a row without an answer, pulls of what is not here fail at once."
    )
    open_seconds: float = setting(
        5.0,
        unit=Unit.SECONDS,
        low=0.01,
        meaning="It is tried again after this time, then after twice as long, up to twelve times as long.",
    )
    max_connections: int = setting(
        64, low=2, meaning="Connections open at once, those to its token server and its store included; half for blobs."
    )

    max_manifest_bytes: int = setting(
        8 * MIB,
        unit=Unit.BYTES,
        low=CLIENT_MANIFEST_BYTES,
        high=MAX_MANIFEST_BYTES,
        meaning="A larger manifest is refused. Most clients read no more than 4 MiB.",
    )

    def __post_init__(self) -> None:
        namespace, home = self.namespace, self.home
        if (self.username is None) is not (self.password_file is None):
            raise Invalid("username and password_file are given together or not at all")
        if self.username is not None and (":" in self.username or not self.username.isprintable()):
            raise Invalid(f"username {self.username!r} cannot be sent: it has a colon or a control character")
        if self.username is not None and not (home.keeps_secrets or self.insecure_plain_http):
            raise Invalid(
                f"the password for {namespace.registry} would travel to {home} in plain text: "
                "use https, or set insecure_plain_http to true"
            )

    @property
    def namespace(self) -> Namespace:
        """Raises: Invalid, when the name cannot be that of a registry."""
        try:
            return Namespace.parse(self.name)
        except Invalid as error:
            raise Invalid(f"name: {error}") from error

    @property
    def base_url(self) -> str:
        """Where /v2/ begins, without a slash at its end."""
        if self.url is not None:
            return self.url.rstrip("/")
        registry = self.namespace.registry
        return _API_OF_DOCKER_HUB if registry == "docker.io" else f"https://{registry}"

    @property
    def home(self) -> Site:
        """The scheme, host and port of the URL. Raises: Invalid, when there is something wrong with the URL."""
        try:
            parts = urlsplit(self.base_url)
            if parts.username is not None or parts.query or parts.fragment:
                raise Invalid("it may have a host, a port and a path; a password belongs into password_file")
            return Site(parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, 0))
        except ValueError as error:
            raise Invalid(f"url {self.url!r} cannot be used: {error}") from error


@dataclass(frozen=True, slots=True)
class MirrorSettings:
    """The registries that this cluster mirrors, and how much is fetched from all of them."""

    upstreams: tuple[UpstreamSettings, ...] = setting((), meaning="The registries that are mirrored.")
    wait_seconds: float = setting(
        10.0,
        unit=Unit.SECONDS,
        low=0.1,
        meaning="Who waits for a blob that is being fetched is told after this time to ask again; the fetch goes on.",
    )
    max_fetches: int = setting(16, low=1, meaning="Blobs that this origin fetches at once.")
    max_waiting: int = setting(
        4096, low=1, meaning="Blobs that it fetches or means to fetch. One more is refused, to be asked for later."
    )
    not_found_seconds: float = setting(
        10.0,
        unit=Unit.SECONDS,
        low=0,
        meaning="A manifest that an upstream does not have is not asked for again for so long.",
    )

    def __post_init__(self) -> None:
        names = [str(upstream.namespace) for upstream in self.upstreams]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise Invalid(f"upstreams name {', '.join(twice)} more than once")
