"""Lists in pages."""

from __future__ import annotations

import pytest

from kraken.core.errors import Invalid
from kraken.oci.pages import MAX_PAGE, PageRequest, next_link, parse_page


def test_without_n_a_page_is_as_large_as_it_may_be() -> None:
    assert parse_page(None, None) == PageRequest(MAX_PAGE, None)
    assert parse_page(None, "v1") == PageRequest(MAX_PAGE, "v1")


def test_n_is_taken_up_to_the_cap() -> None:
    assert parse_page("0", None) == PageRequest(0, None)
    assert parse_page("2", "") == PageRequest(2, "")
    assert parse_page("9" * 5000, None) == PageRequest(MAX_PAGE, None)


@pytest.mark.parametrize("n", ["", "-1", "1.5", "x", "٣", " 1", "0x10"])
def test_n_must_be_a_number(n: str) -> None:
    with pytest.raises(Invalid):
        parse_page(n, None)


def test_last_has_a_limit() -> None:
    with pytest.raises(Invalid):
        parse_page(None, "x" * 1025)


def test_a_link_names_the_next_page_with_its_values_encoded() -> None:
    assert next_link("/v2/a/tags/list", 2, "v1+x") == '</v2/a/tags/list?n=2&last=v1%2Bx>; rel="next"'
