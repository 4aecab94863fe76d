"""Digests, pieces, metainfo and addresses admit what is right, and nothing else."""

from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.blobs import a_blob

from kraken.core.digest import Algorithm, Digest
from kraken.core.errors import Invalid
from kraken.core.metainfo import Metainfo, swarm_id
from kraken.core.peers import Address, peer_id
from kraken.core.pieces import GIB, KIB, MIB, ByteRange, PieceIndex, Pieces, piece_length_for


def test_a_digest_names_the_bytes() -> None:
    digest = Digest.of(b"kraken")

    assert str(digest) == "sha256:" + hashlib.sha256(b"kraken").hexdigest()
    assert Digest.parse(str(digest)) == digest
    assert Digest.of(b"kraken", Algorithm.SHA512).encoded == hashlib.sha512(b"kraken").hexdigest()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        "md5:" + "0" * 32,
        "sha256:" + "0" * 63,
        "sha256:" + "A" * 64,
        "sha512:" + "0" * 64,
        "sha256:" + "0" * 64 + "\n",
        "sha256:../" + "0" * 61,
        "SHA256:" + "0" * 64,
    ],
)
def test_a_malformed_digest_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        Digest.parse(text)


@given(st.text(max_size=200))
def test_any_text_is_a_digest_or_refused(text: str) -> None:
    with contextlib.suppress(Invalid):
        assert str(Digest.parse(text)) == text


@pytest.mark.parametrize(
    ("size", "piece_length"),
    [
        (0, 256 * KIB),
        (1, 256 * KIB),
        (256 * MIB, 256 * KIB),
        (256 * MIB + 1, 512 * KIB),
        (GIB, MIB),
        (GIB + 1, 2 * MIB),
        (16 * GIB, 2 * MIB),
        (16 * GIB + 1, 4 * MIB),
        (64 * GIB, 4 * MIB),
        (64 * GIB + 1, 16 * MIB),
    ],
)
def test_piece_length_is_a_fixed_rule_of_the_size(size: int, piece_length: int) -> None:
    assert piece_length_for(size) == piece_length


def test_the_last_piece_may_be_short_and_every_index_is_checked() -> None:
    pieces = Pieces(1000, 300)

    assert pieces.count == 4
    assert [pieces.size(piece) for piece in pieces.indices()] == [300, 300, 300, 100]
    assert pieces.index(3) == 3
    for number in (-1, 4):
        with pytest.raises(Invalid):
            pieces.index(number)


@given(st.integers(0, 5000), st.integers(1, 700), st.data())
def test_a_range_touches_exactly_the_pieces_that_hold_its_bytes(
    length: int, piece_length: int, data: st.DataObject
) -> None:
    pieces = Pieces(length, piece_length)
    start = data.draw(st.integers(0, length))
    stop = data.draw(st.integers(start, length))

    touched = pieces.touched_by(ByteRange(start, stop))

    assert list(touched) == sorted({byte // piece_length for byte in range(start, stop)})


def test_metainfo_survives_its_encoding() -> None:
    metainfo = a_blob(pieces=3).metainfo

    assert Metainfo.decode(metainfo.encode()) == metainfo
    assert metainfo.swarm == swarm_id(metainfo.digest, metainfo.size, metainfo.pieces.piece_length)
    assert len(metainfo.swarm) == 20
    assert len(metainfo.piece_hash(PieceIndex(2))) == 32


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_are_metainfo_or_refused(noise: bytes, cut: int) -> None:
    good = a_blob(pieces=2, tail=7).metainfo.encode()
    for data in (noise, b"KRM1" + noise, good[:cut], good[:cut] + noise):
        with contextlib.suppress(Invalid):
            assert Metainfo.decode(data).encode() == data


@pytest.mark.parametrize("text", ["", "host", "host:", "host:port", "host:65536", ":80", "a b:80", "h\n:80", "-h:80"])
def test_a_malformed_address_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        Address.parse(text)


def test_an_address_may_be_a_name_or_an_ip_of_either_family() -> None:
    assert str(Address.parse("origin-1.example:5200")) == "origin-1.example:5200"
    assert Address.parse("[::1]:80").bare_host == "::1"


def test_a_peer_id_is_twenty_bytes_with_our_prefix() -> None:
    assert peer_id(b"x" * 12) == b"-KR0100-" + b"x" * 12
    with pytest.raises(Invalid):
        peer_id(b"x" * 11)
