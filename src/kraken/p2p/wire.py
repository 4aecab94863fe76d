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
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from kraken.core.errors import Invalid
from kraken.p2p.values import Value

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


class Flag(Value, frozen=True):
    """A message that is all id: choke, unchoke, (not) interested, have all, have none."""

    kind: Kind


class Have(Value, frozen=True):
    piece: int


class Hint(Value, frozen=True):
    """Suggest or allowed fast: taken, and of no consequence here."""

    kind: Kind
    piece: int


class Bitfield(Value, frozen=True):
    payload: bytes


class Span(Value, frozen=True):
    """Part of a piece: request, cancel or reject. `begin` and `length` are bytes within the piece."""

    kind: Kind
    piece: int
    begin: int
    length: int


class PieceHeader(Value, frozen=True):
    """The head of a piece frame; `length` bytes of data follow on the wire."""

    piece: int
    begin: int
    length: int


class Extended(Value, frozen=True):
    """An extended message; id 0 is the extension handshake."""

    extended_id: int
    payload: bytes


Message = Flag | Have | Hint | Bitfield | Span | PieceHeader | Extended

_FLAGS = frozenset((Kind.CHOKE, Kind.UNCHOKE, Kind.INTERESTED, Kind.NOT_INTERESTED, Kind.HAVE_ALL, Kind.HAVE_NONE))
_SPANS = frozenset((Kind.REQUEST, Kind.CANCEL, Kind.REJECT))
_HINTS = frozenset((Kind.SUGGEST, Kind.ALLOWED_FAST))
_HAVE = struct.Struct(">BI")
_PIECE = struct.Struct(">BII")
_SPAN = struct.Struct(">BIII")
_PIECE_FRAME = struct.Struct(">IBII")
_SPAN_FRAME = struct.Struct(">IBIII")
_HAVE_FRAME = struct.Struct(">IBI")
_QUEUE = struct.Struct(">H")

KEEP_ALIVE = PREFIX.pack(0)


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """How long frames of a swarm may be. All in bytes, the length prefix left out."""

    bitfield: int
    piece: int
    _bounds: dict[int, tuple[int, int]] = field(init=False, repr=False, compare=False)  # by kind

    def __post_init__(self) -> None:
        bounds = {
            **dict.fromkeys(_FLAGS, (1, 1)),
            **dict.fromkeys(_SPANS, (_SPAN.size, _SPAN.size)),
            **dict.fromkeys((Kind.HAVE, *_HINTS), (_HAVE.size, _HAVE.size)),
            Kind.PIECE: (PIECE_HEADER_BYTES + 1, PIECE_HEADER_BYTES + self.piece),
            Kind.BITFIELD: (1, 1 + self.bitfield),
            Kind.EXTENDED: (2, 2 + MAX_EXTENDED_BYTES),
        }
        object.__setattr__(self, "_bounds", {int(kind): each for kind, each in bounds.items()})

    def admit(self, kind: int, length: int) -> None:
        """Check a declared frame length before anything is allocated.

        Raises: Invalid, for an unknown kind or a frame longer than its kind can be in this swarm.
        """
        bounds = self._bounds.get(kind)
        if bounds is None:
            raise Invalid(f"message id {kind} is unknown")
        if not bounds[0] <= length <= bounds[1]:
            raise Invalid(f"a {Kind(kind).name} frame of {length} bytes; {bounds[0]} to {bounds[1]} are possible")


Frame = bytes | bytearray | memoryview


def decode(frame: Frame, length: int) -> Message:
    """One message from its frame, the length prefix left out.

    Args: frame, the whole frame, or for a piece its first 9 bytes; length, what the prefix said.
    Raises: Invalid, when the frame cannot be what it says it is.
    """
    read = _READERS.get(frame[0])
    if read is None:
        raise Invalid(f"message id {frame[0]} is unknown")
    try:
        return read(frame, length)
    except (struct.error, IndexError) as error:
        raise Invalid(f"a frame of kind {frame[0]} with {len(frame) - 1} bytes") from error


def encode(message: Message) -> bytes:
    """The bytes of one message; for a piece those of its head, the data follows separately."""
    return _WRITERS[type(message)](message)


def encode_have_batch(waiting: int, pieces: list[int]) -> bytes:
    """The payload of a kr_have message."""
    return _QUEUE.pack(min(waiting, 0xFFFF)) + struct.pack(f">{len(pieces)}I", *pieces)


def decode_have_batch(payload: bytes) -> tuple[int, list[int]]:
    """Requests waiting at the sender, and the pieces that it has new. Raises: Invalid."""
    count, rest = divmod(len(payload) - _QUEUE.size, 4)
    if rest or count < 0:
        raise Invalid(f"a kr_have of {len(payload)} bytes")
    return _QUEUE.unpack_from(payload)[0], list(struct.unpack_from(f">{count}I", payload, _QUEUE.size))


def _read_piece(frame: Frame, length: int) -> PieceHeader:
    _, piece, begin = _PIECE.unpack_from(frame)
    return PieceHeader(piece, begin, length - PIECE_HEADER_BYTES)


def _reader_of_span(kind: Kind) -> _Reader:
    def read(frame: Frame, _length: int) -> Span:
        _, piece, begin, length = _SPAN.unpack(frame)
        return Span(kind, piece, begin, length)

    return read


def _reader_of_hint(kind: Kind) -> _Reader:
    return lambda frame, _length: Hint(kind, _HAVE.unpack(frame)[1])


def _reader_of_flag(kind: Kind) -> _Reader:
    flag = Flag(kind)
    return lambda _frame, _length: flag


# By kind and by class, for each piece brings fourteen messages and more. The keys are plain integers: a member of an
# enumeration takes as long to be looked up as all the rest.
_Reader = Callable[[Frame, int], Message]
_READERS: dict[int, _Reader] = {
    **{int(kind): _reader_of_flag(kind) for kind in _FLAGS},
    **{int(kind): _reader_of_span(kind) for kind in _SPANS},
    **{int(kind): _reader_of_hint(kind) for kind in _HINTS},
    int(Kind.PIECE): _read_piece,
    int(Kind.HAVE): lambda frame, _length: Have(_HAVE.unpack(frame)[1]),
    int(Kind.BITFIELD): lambda frame, _length: Bitfield(bytes(frame[1:])),
    int(Kind.EXTENDED): lambda frame, _length: Extended(frame[1], bytes(frame[2:])),
}
_WRITERS: dict[type[Message], Callable[[Any], bytes]] = {
    Flag: lambda it: PREFIX.pack(1) + bytes([it.kind]),
    Have: lambda it: _HAVE_FRAME.pack(_HAVE.size, Kind.HAVE, it.piece),
    Hint: lambda it: _HAVE_FRAME.pack(_HAVE.size, it.kind, it.piece),
    Bitfield: lambda it: PREFIX.pack(1 + len(it.payload)) + bytes([Kind.BITFIELD]) + it.payload,
    Span: lambda it: _SPAN_FRAME.pack(_SPAN.size, it.kind, it.piece, it.begin, it.length),
    PieceHeader: lambda it: _PIECE_FRAME.pack(PIECE_HEADER_BYTES + it.length, Kind.PIECE, it.piece, it.begin),
    Extended: lambda it: PREFIX.pack(2 + len(it.payload)) + bytes([Kind.EXTENDED, it.extended_id]) + it.payload,
}
