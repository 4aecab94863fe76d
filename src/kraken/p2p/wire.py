"""The peer wire, as values and bytes.

Frames of BEP 3 (length, id, payload), the fast extension of BEP 6, and extended messages of BEP 10.
One extended message is our own, `kr_have`: the pieces that came in since the last one, and how many
requests wait at the sender:

    2   requests waiting at the sender, saturated at 65,535
    4n  piece numbers

A `piece` frame's payload is never held here: `decode` is given its first 9 bytes only. Every length
is checked against a limit before anything is allocated for it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from kraken.core.errors import Invalid

PREFIX = struct.Struct(">I")
PIECE_HEADER_BYTES = 9
"""Bytes of a piece frame between the length prefix and the data: id, index, begin."""

MAX_EXTENDED_BYTES = 64 * 1024
"""Bytes of the largest extended message taken. A kr_have of a whole burst is far smaller."""

HAVE_BATCH = 4096
"""Most piece numbers put into one kr_have."""


class Kind(IntEnum):
    """Message ids."""

    CHOKE = 0
    UNCHOKE = 1
    INTERESTED = 2
    NOT_INTERESTED = 3
    HAVE = 4
    BITFIELD = 5
    REQUEST = 6
    PIECE = 7
    CANCEL = 8
    SUGGEST = 13
    HAVE_ALL = 14
    HAVE_NONE = 15
    REJECT = 16
    ALLOWED_FAST = 17
    EXTENDED = 20


@dataclass(frozen=True, slots=True)
class Flag:
    """A message that is all id: choke, unchoke, (not) interested, have all, have none."""

    kind: Kind


@dataclass(frozen=True, slots=True)
class Have:
    piece: int


@dataclass(frozen=True, slots=True)
class Hint:
    """Suggest or allowed fast: taken, and of no consequence here."""

    kind: Kind
    piece: int


@dataclass(frozen=True, slots=True)
class Bitfield:
    payload: bytes


@dataclass(frozen=True, slots=True)
class Span:
    """Part of a piece: request, cancel or reject. `begin` and `length` are bytes within the piece."""

    kind: Kind
    piece: int
    begin: int
    length: int


@dataclass(frozen=True, slots=True)
class PieceHeader:
    """The head of a piece frame; `length` bytes of data follow on the wire."""

    piece: int
    begin: int
    length: int


@dataclass(frozen=True, slots=True)
class Extended:
    """An extended message; id 0 is the extension handshake."""

    extended_id: int
    payload: bytes


Message = Flag | Have | Hint | Bitfield | Span | PieceHeader | Extended

_FLAGS = frozenset((Kind.CHOKE, Kind.UNCHOKE, Kind.INTERESTED, Kind.NOT_INTERESTED, Kind.HAVE_ALL, Kind.HAVE_NONE))
_SPANS = frozenset((Kind.REQUEST, Kind.CANCEL, Kind.REJECT))
_ONE = struct.Struct(">I")
_TWO = struct.Struct(">II")
_THREE = struct.Struct(">III")
_SPAN_FRAME = struct.Struct(">IBIII")
_HAVE_FRAME = struct.Struct(">IBI")
_QUEUE = struct.Struct(">H")

KEEP_ALIVE = PREFIX.pack(0)


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """How long frames of a swarm may be. All in bytes, the length prefix left out."""

    bitfield: int
    piece: int

    def admit(self, kind: int, length: int) -> None:
        """Check a declared frame length before anything is allocated.

        Raises: Invalid, for an unknown kind or a frame longer than its kind can be in this swarm.
        """
        if kind == Kind.PIECE:
            shortest, longest = PIECE_HEADER_BYTES + 1, PIECE_HEADER_BYTES + self.piece
        elif kind == Kind.BITFIELD:
            shortest, longest = 1, 1 + self.bitfield
        elif kind == Kind.EXTENDED:
            shortest, longest = 2, 2 + MAX_EXTENDED_BYTES
        elif kind in _FLAGS:
            shortest = longest = 1
        elif kind in _SPANS:
            shortest = longest = 13
        elif kind in (Kind.HAVE, Kind.SUGGEST, Kind.ALLOWED_FAST):
            shortest = longest = 5
        else:
            raise Invalid(f"message id {kind} is unknown")
        if not shortest <= length <= longest:
            raise Invalid(f"a {Kind(kind).name} frame of {length} bytes; {shortest} to {longest} are possible")


def decode(frame: bytes | memoryview, length: int) -> Message:
    """One message from its frame, the length prefix left out.

    Args: frame, the whole frame, or for a piece its first 9 bytes; length, what the prefix said.
    Raises: Invalid, when the frame cannot be what it says it is.
    """
    kind = frame[0]
    body = frame[1:]
    try:
        if kind == Kind.PIECE:
            piece, begin = _TWO.unpack(body[:8])
            return PieceHeader(piece, begin, length - PIECE_HEADER_BYTES)
        if kind in _SPANS:
            return Span(Kind(kind), *_THREE.unpack(body))
        if kind == Kind.HAVE:
            return Have(_ONE.unpack(body)[0])
        if kind in _FLAGS:
            return Flag(Kind(kind))
        if kind in (Kind.SUGGEST, Kind.ALLOWED_FAST):
            return Hint(Kind(kind), _ONE.unpack(body)[0])
        if kind == Kind.BITFIELD:
            return Bitfield(bytes(body))
        if kind == Kind.EXTENDED:
            return Extended(body[0], bytes(body[1:]))
    except (struct.error, IndexError) as error:
        raise Invalid(f"a frame of kind {kind} with {len(body)} bytes") from error
    raise Invalid(f"message id {kind} is unknown")


def encode(message: Message) -> bytes:
    """The bytes of one message; for a piece those of its head, the data follows separately."""
    match message:
        case Flag(kind):
            return PREFIX.pack(1) + bytes([kind])
        case Have(piece):
            return _HAVE_FRAME.pack(5, Kind.HAVE, piece)
        case Hint(kind, piece):
            return _HAVE_FRAME.pack(5, kind, piece)
        case Bitfield(payload):
            return PREFIX.pack(1 + len(payload)) + bytes([Kind.BITFIELD]) + payload
        case Span(kind, piece, begin, length):
            return _SPAN_FRAME.pack(13, kind, piece, begin, length)
        case PieceHeader(piece, begin, length):
            return PREFIX.pack(PIECE_HEADER_BYTES + length) + bytes([Kind.PIECE]) + _TWO.pack(piece, begin)
        case Extended(extended_id, payload):
            return PREFIX.pack(2 + len(payload)) + bytes([Kind.EXTENDED, extended_id]) + payload


def encode_have_batch(waiting: int, pieces: list[int]) -> bytes:
    """The payload of a kr_have message."""
    return _QUEUE.pack(min(waiting, 0xFFFF)) + struct.pack(f">{len(pieces)}I", *pieces)


def decode_have_batch(payload: bytes) -> tuple[int, list[int]]:
    """Requests waiting at the sender, and the pieces that it has new. Raises: Invalid."""
    count, rest = divmod(len(payload) - _QUEUE.size, 4)
    if rest or count < 0:
        raise Invalid(f"a kr_have of {len(payload)} bytes")
    return _QUEUE.unpack_from(payload)[0], list(struct.unpack_from(f">{count}I", payload, _QUEUE.size))
