from __future__ import annotations

import pytest

from kraken.core.errors import Invalid
from kraken.upstream.sites import Site


@pytest.mark.parametrize(
    ("site", "keeps"),
    [
        (Site("https", "registry.example", 443), True),
        (Site("http", "registry.example", 80), False),
        (Site("http", "127.0.0.1", 5000), True),
        (Site("http", "127.9.9.9", 5000), True),
        (Site("http", "::1", 5000), True),
        (Site("http", "localhost", 5000), True),
        (Site("http", "localhost.example", 5000), False),
        (Site("http", "10.0.0.1", 5000), False),
        (Site("http", "127.0.0.1.example", 5000), False),
    ],
)
def test_secrets_travel_encrypted_or_stay_on_this_machine(site: Site, keeps: bool) -> None:
    assert site.keeps_secrets is keeps


def test_encryption_is_never_left_for_plain_text() -> None:
    safe, plain, local = Site("https", "a", 443), Site("http", "b", 80), Site("http", "127.0.0.1", 80)

    assert safe.is_as_safe_as(safe)
    assert safe.is_as_safe_as(plain)
    assert plain.is_as_safe_as(plain)
    assert not plain.is_as_safe_as(safe)
    assert not local.is_as_safe_as(safe)


@pytest.mark.parametrize(("scheme", "host"), [("ftp", "a"), ("", "a"), ("file", ""), ("https", "")])
def test_requests_go_somewhere_by_http(scheme: str, host: str) -> None:
    with pytest.raises(Invalid):
        Site(scheme, host, 80)


def test_a_site_reads_as_the_beginning_of_a_url() -> None:
    assert str(Site("https", "a.example", 443)) == "https://a.example:443"
    assert str(Site("http", "::1", 80)) == "http://[::1]:80"
