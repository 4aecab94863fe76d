"""Lists of referrers: order, filter, pages, and what older clients wrote."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.core.digest import Algorithm, Digest
from kraken.core.errors import Invalid
from kraken.oci.manifests import OCI_MANIFEST, ManifestRecord
from kraken.oci.referrers import Referrer, fallback_tag, next_referrers_link, referrers_of_index, referrers_page


def a_referrer(name: str, artifact_type: str = "") -> Referrer:
    return Referrer(ManifestRecord(Digest.of(name.encode()), OCI_MANIFEST, 7), artifact_type, {"name": name})


def names(body: bytes) -> list[str]:
    return [entry["annotations"]["name"] for entry in json.loads(body)["manifests"]]


def test_a_list_without_entries_is_an_index_all_the_same() -> None:
    page = referrers_page([], None, None)

    assert json.loads(page.body)["manifests"] == []
    assert page.last is None


def test_each_is_listed_once_and_in_the_order_of_its_digest() -> None:
    both = [a_referrer("a"), a_referrer("b")]

    page = referrers_page([*both, *both], None, None)

    assert names(page.body) == sorted("ab", key=lambda name: str(Digest.of(name.encode())))


def test_an_answer_of_no_artifact_type_says_nothing_of_it() -> None:
    assert "artifactType" not in json.loads(referrers_page([a_referrer("a")], None, None).body)["manifests"][0]


@given(st.integers(1, 30), st.integers(300, 2000))
def test_pages_lead_through_the_whole_list(count: int, limit: int) -> None:
    listed = [a_referrer(str(number)) for number in range(count)]
    seen: list[str] = []
    after = None
    while True:
        page = referrers_page(listed, None, after, limit_bytes=limit)
        assert len(page.body) <= limit or len(names(page.body)) == 1
        seen += names(page.body)
        if page.last is None:
            break
        after = page.last

    assert sorted(seen) == sorted(str(number) for number in range(count))


def test_the_link_keeps_the_filter() -> None:
    last = Digest.of(b"x")

    link = next_referrers_link("/v2/a/referrers/b", "a/b+c", last)

    assert link == f'</v2/a/referrers/b?last=sha256%3A{last.encoded}&artifactType=a%2Fb%2Bc>; rel="next"'


def test_the_fallback_tag_is_the_digest_with_a_dash_and_has_64_characters_of_it() -> None:
    digest, longer = Digest.of(b"x"), Digest.of(b"x", Algorithm.SHA512)

    assert str(fallback_tag(digest)) == f"sha256-{digest.encoded}"
    assert str(fallback_tag(longer)) == f"sha512-{longer.encoded[:64]}"


def test_what_older_clients_wrote_is_read() -> None:
    listed = [a_referrer("a", "t/a"), a_referrer("b")]

    assert (
        sorted(referrers_of_index(referrers_page(listed, None, None).body), key=lambda it: it.annotations["name"])
        == listed
    )


@given(st.binary(max_size=100))
def test_any_bytes_are_an_index_or_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        referrers_of_index(data)
