from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from kraken.core.errors import BadConfig, Invalid
from kraken.upstream.io.web import Web, site_of, url_from
from kraken.upstream.settings import UpstreamSettings
from kraken.upstream.sites import Site

BASE = URL("https://registry.example/v2/app/blobs/x?y=1")


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("https://cdn.example/a", "https://cdn.example/a"),
        ("/other", "https://registry.example/other"),
        ("//cdn.example/a", "https://cdn.example/a"),
        ("z?q", "https://registry.example/v2/app/blobs/z?q"),
        ("https://cdn.example/a%2Fb%7e+c?sig=a%2Bb%3D&x=%7E", "https://cdn.example/a%2Fb%7e+c?sig=a%2Bb%3D&x=%7E"),
        ("https://user:secret@cdn.example/a", "https://cdn.example/a"),
    ],
)
def test_a_location_is_followed_as_it_was_signed(location: str, url: str) -> None:
    assert str(url_from(location, BASE)) == url


@pytest.mark.parametrize(
    "location",
    ["", "file:///etc/passwd", "gopher://x/", "https://a b/", "https://a/\r\nX: y", "https://[x", "/ä"],
)
def test_a_location_that_leads_nowhere_is_refused(location: str) -> None:
    with pytest.raises(Invalid):
        url_from(location, BASE)


@given(st.text(st.characters(codec="ascii"), max_size=60))
def test_any_location_leads_to_a_site_or_is_refused(location: str) -> None:
    with contextlib.suppress(Invalid):
        assert isinstance(site_of(url_from(location, BASE)), Site)


def test_a_host_is_the_same_one_in_capitals() -> None:
    assert site_of(url_from("HTTPS://CDN.Example:443/a", BASE)) == site_of(URL("https://cdn.example/b"))


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_authorities_that_cannot_be_read_are_named(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)

    with pytest.raises(BadConfig, match=r"docker\.io") as caught:
        Web(UpstreamSettings("docker.io", ca_file=file))
    assert str(file) in str(caught.value)
