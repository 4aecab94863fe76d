"""Repository names, tags and references."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.core.digest import Digest
from kraken.core.errors import Invalid
from kraken.oci.references import RepositoryName, Tag, parse_reference

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "text", ["a", "library/alpine", "a.b/c_d/e__f/g-h--i", "0/1", "blobs/manifests/tags", "x" * 255]
)
def test_a_name_of_the_grammar_is_taken(text: str) -> None:
    assert str(RepositoryName(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "A", "a/", "/a", "a//b", "a..b", "a___b", "-a", "a-", "a._b", "a/../b", "a b", "a\n", "ä", "a%2fb", "x" * 256],
)
def test_anything_else_is_no_name(text: str) -> None:
    with pytest.raises(Invalid):
        RepositoryName(text)


@pytest.mark.parametrize("text", ["latest", "_", "v1.0-rc.1", "A", "x" * 128])
def test_a_tag_of_the_grammar_is_taken(text: str) -> None:
    assert parse_reference(text) == Tag(text)


@pytest.mark.parametrize("text", ["", ".a", "-a", "a/b", "a b", "latest\n", "x" * 129, "ü"])
def test_anything_else_is_no_tag(text: str) -> None:
    with pytest.raises(Invalid):
        parse_reference(text)


def test_what_holds_a_colon_is_a_digest_or_nothing() -> None:
    assert parse_reference(DIGEST) == Digest.parse(DIGEST)
    with pytest.raises(Invalid):
        parse_reference("latest:1")


@given(st.text(max_size=300))
def test_any_text_gives_a_reference_that_reads_the_same_or_our_error(text: str) -> None:
    try:
        reference = parse_reference(text)
    except Invalid:
        return

    assert str(reference) == text


@given(st.text(alphabet="a0._-/", max_size=300))
def test_any_text_gives_a_name_that_reads_the_same_or_our_error(text: str) -> None:
    try:
        name = RepositoryName(text)
    except Invalid:
        return

    assert str(name) == text
