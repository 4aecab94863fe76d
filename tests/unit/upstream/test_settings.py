from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from kraken.config.loader import load
from kraken.core.errors import BadConfig, Invalid
from kraken.core.settings import setting
from kraken.oci.namespaces import Namespace
from kraken.upstream.settings import MirrorSettings, UpstreamSettings
from kraken.upstream.sites import Site

PASSWORD = Path("/run/secrets/hub")


@dataclass(frozen=True, slots=True)
class Root:
    """A component with mirrors."""

    component: str = setting("origin", meaning="Always origin.")
    mirror: MirrorSettings = setting(MirrorSettings, meaning="Mirrors.")


@pytest.mark.parametrize(
    ("upstream", "url"),
    [
        (UpstreamSettings("docker.io"), "https://registry-1.docker.io"),
        (UpstreamSettings("ghcr.io"), "https://ghcr.io"),
        (UpstreamSettings("host:5000"), "https://host:5000"),
        (UpstreamSettings("docker.io", url="http://127.0.0.1:5601/"), "http://127.0.0.1:5601"),
        (
            UpstreamSettings("docker.io", url="https://art.example/api/docker/hub/"),
            "https://art.example/api/docker/hub",
        ),
    ],
)
def test_a_registry_is_asked_where_its_name_says_unless_told_otherwise(upstream: UpstreamSettings, url: str) -> None:
    assert upstream.base_url == url


def test_the_name_is_that_of_a_registry() -> None:
    upstream = UpstreamSettings("host:5000")

    assert upstream.namespace == Namespace("host_5000")
    assert upstream.home == Site("https", "host", 5000)
    with pytest.raises(Invalid, match=r"name: 'hub'"):
        UpstreamSettings("hub", url="https://registry-1.docker.io")


@pytest.mark.parametrize(
    "url",
    [
        "registry.example", "ftp://registry.example", "https://", "https://user:secret@registry.example",
        "https://registry.example/?a=b", "https://registry.example/#x", "https://registry.example:port", "https://[::1",
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_asked_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match=r"url .* cannot be used"):
        UpstreamSettings("docker.io", url=url)


def test_a_user_has_a_password_and_a_password_a_user() -> None:
    UpstreamSettings("docker.io", username="u", password_file=PASSWORD)
    with pytest.raises(Invalid, match="together"):
        UpstreamSettings("docker.io", username="u")
    with pytest.raises(Invalid, match="together"):
        UpstreamSettings("docker.io", password_file=PASSWORD)


@pytest.mark.parametrize("username", ["a:b", "a\r\nX: y"])
def test_a_user_name_that_would_be_misread_is_refused(username: str) -> None:
    with pytest.raises(Invalid, match="username"):
        UpstreamSettings("docker.io", username=username, password_file=PASSWORD)


def test_a_password_does_not_travel_in_plain_text_unless_told_to() -> None:
    def settings(url: str, allowed: bool = False) -> UpstreamSettings:
        return UpstreamSettings("docker.io", url=url, username="u", password_file=PASSWORD, insecure_plain_http=allowed)

    with pytest.raises(Invalid, match="plain text"):
        settings("http://registry.example")
    assert settings("http://127.0.0.1:5000").home.keeps_secrets
    assert not settings("http://registry.example", allowed=True).home.keeps_secrets
    assert UpstreamSettings("docker.io", url="http://registry.example").home.host == "registry.example"


def test_two_upstreams_do_not_share_a_name() -> None:
    with pytest.raises(Invalid, match="host_5000 more than once"):
        MirrorSettings(upstreams=(UpstreamSettings("host:5000"), UpstreamSettings("HOST:5000", url="https://other")))


def written(tmp_path: Path, text: str) -> MirrorSettings:
    """What an operator wrote."""
    path = tmp_path / "origin.yaml"
    path.write_text(text)
    return load("origin", Root, path, {}).mirror


def test_a_file_names_upstreams_with_what_differs_from_the_defaults(tmp_path: Path) -> None:
    mirror = written(
        tmp_path,
        "component: origin\nmirror:\n  upstreams:\n    - name: docker.io\n      username: u\n"
        f"      password_file: {PASSWORD}\n    - name: host:5000\n      revalidate_seconds: 5m\n",
    )

    assert mirror.upstreams == (
        UpstreamSettings("docker.io", username="u", password_file=PASSWORD),
        UpstreamSettings("host:5000", revalidate_seconds=300.0),
    )


def test_a_file_holds_no_password(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="password"):
        written(tmp_path, "mirror:\n  upstreams:\n    - name: docker.io\n      password: secret\n")


def test_a_file_with_a_wrong_upstream_is_told_which_and_why(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"upstreams\[0\].*username and password_file"):
        written(tmp_path, "mirror:\n  upstreams:\n    - name: docker.io\n      username: u\n")
