"""The two handshakes, and the bencoding beneath the second."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.core.errors import Invalid
from kraken.core.metainfo import SwarmId
from kraken.core.peers import PeerId, Role
from kraken.p2p import bencode
from kraken.p2p.handshake import HANDSHAKE_BYTES, STOCK_BLOCK, Handshake, Introduction

values = st.recursive(
    st.one_of(st.integers(-(2**63), 2**63), st.binary(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.binary(max_size=6), inner, max_size=4)),
    max_leaves=12,
)


@given(values)
def test_a_bencoded_value_survives(value: bencode.Encodable) -> None:
    try:
        assert bencode.decode(bencode.encode(value)) == value
    except Invalid as error:
        assert "nested deeper" in str(error)  # noqa: PT017 - the one reason for which a canonical value is refused


@given(st.binary(max_size=60))
def test_any_bytes_are_bencoding_or_refused(data: bytes) -> None:
    with contextlib.suppress(Invalid):
        assert bencode.encode(bencode.decode(data)) == data


@pytest.mark.parametrize(
    "data", [b"i-0e", b"i03e", b"ie", b"i1", b"02:ab", b"d1:b0:1:a0:e", b"d1:a0:1:a0:e", b"l" * 30, b"5:abc", b"i1ei2e"]
)
def test_what_is_not_canonical_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        bencode.decode(data)


def test_the_handshake_has_68_bytes_and_survives() -> None:
    handshake = Handshake(SwarmId(b"s" * 20), PeerId(b"p" * 20), extended=True, fast=False)

    assert len(handshake.encode()) == HANDSHAKE_BYTES == 68
    assert handshake.encode()[:20] == b"\x13BitTorrent protocol"
    assert Handshake.decode(handshake.encode()) == handshake


@given(st.binary(max_size=80))
def test_any_bytes_are_a_handshake_or_refused(data: bytes) -> None:
    with contextlib.suppress(Invalid):
        Handshake.decode(data)


def test_kraken_peers_introduce_themselves() -> None:
    about = Introduction(Role.ORIGIN, "zone-a", 16 * 2**20, 1)

    assert Introduction.decode(about.encode()) == about
    assert about.is_kraken


def test_a_stock_client_is_given_small_blocks() -> None:
    about = Introduction.decode(bencode.encode({b"m": {b"ut_pex": 1}, b"v": b"stock 1.0"}))

    assert about == Introduction(Role.AGENT, "", STOCK_BLOCK, 0)
    assert not about.is_kraken


@pytest.mark.parametrize(
    "ours",
    [
        {b"role": b"king", b"maxblk": STOCK_BLOCK},
        {b"role": b"agent", b"maxblk": 0},
        {b"role": b"agent", b"maxblk": 1 << 40},
        {b"role": b"agent", b"maxblk": b"x"},
        {b"role": 3, b"maxblk": STOCK_BLOCK},
        {b"role": b"agent", b"maxblk": STOCK_BLOCK, b"zone": b"z" * 65},
    ],
)
def test_a_malformed_introduction_is_refused(ours: dict[bytes, bencode.Encodable]) -> None:
    with pytest.raises(Invalid):
        Introduction.decode(bencode.encode({b"kr": ours, b"m": {b"kr_have": 1}}))
