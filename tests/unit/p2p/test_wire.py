"""Frames of the peer wire."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.core.errors import Invalid
from kraken.p2p import wire
from kraken.p2p.wire import Kind

u32 = st.integers(0, 2**32 - 1)
flags = st.sampled_from([Kind.CHOKE, Kind.UNCHOKE, Kind.INTERESTED, Kind.NOT_INTERESTED, Kind.HAVE_ALL, Kind.HAVE_NONE])
messages = st.one_of(
    st.builds(wire.Flag, flags),
    st.builds(wire.Have, u32),
    st.builds(wire.Hint, st.sampled_from([Kind.SUGGEST, Kind.ALLOWED_FAST]), u32),
    st.builds(wire.Bitfield, st.binary(min_size=1, max_size=40)),
    st.builds(wire.Span, st.sampled_from([Kind.REQUEST, Kind.CANCEL, Kind.REJECT]), u32, u32, u32),
    st.builds(wire.PieceHeader, u32, u32, st.integers(1, 2**20)),
    st.builds(wire.Extended, st.integers(0, 255), st.binary(max_size=40)),
)
LIMITS = wire.FrameLimits(bitfield=128, piece=2**20)


@given(messages)
def test_a_message_survives_the_wire(message: wire.Message) -> None:
    data = wire.encode(message)
    (length,) = struct.unpack(">I", data[:4])

    assert wire.decode(data[4:], length) == message
    if not isinstance(message, wire.PieceHeader):
        assert length == len(data) - 4


@given(st.binary(min_size=1, max_size=64), u32)
def test_any_frame_is_a_message_or_refused(frame: bytes, length: int) -> None:
    with contextlib.suppress(Invalid):
        wire.decode(frame, length)


@pytest.mark.parametrize(
    ("kind", "longest"),
    [(Kind.PIECE, 9 + 2**20), (Kind.BITFIELD, 129), (Kind.REQUEST, 13), (Kind.HAVE, 5), (Kind.CHOKE, 1)],
)
def test_a_frame_longer_than_its_kind_can_be_is_refused_by_its_length_alone(kind: Kind, longest: int) -> None:
    LIMITS.admit(kind, longest)
    with pytest.raises(Invalid):
        LIMITS.admit(kind, longest + 1)


@pytest.mark.parametrize(("kind", "length"), [(Kind.PIECE, 9), (Kind.REQUEST, 12), (Kind.EXTENDED, 1), (99, 1), (9, 3)])
def test_a_frame_too_short_or_unknown_is_refused(kind: int, length: int) -> None:
    with pytest.raises(Invalid):
        LIMITS.admit(kind, length)


@given(st.integers(0, 2**17), st.lists(u32, max_size=50))
def test_a_have_batch_survives_with_its_queue_saturated(waiting: int, pieces: list[int]) -> None:
    assert wire.decode_have_batch(wire.encode_have_batch(waiting, pieces)) == (min(waiting, 65535), pieces)


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\x00\x00\x01"])
def test_a_torn_have_batch_is_refused(payload: bytes) -> None:
    with pytest.raises(Invalid):
        wire.decode_have_batch(payload)
