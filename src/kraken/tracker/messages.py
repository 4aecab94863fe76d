"""What an announce says, and what it is answered. MessagePack arrays; every length is bounded.

The agents of a crowd say the same, but for their peer ids: that is admitted once, and remembered by its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Final

import msgspec

from kraken.core.errors import Invalid
from kraken.core.metainfo import SWARM_ID_BYTES
from kraken.core.peers import PEER_ID_BYTES, Role

MAX_SWARMS = 1000
"""Swarms of one announce. A node that holds more sends several."""

MAX_PEERS = 200
"""Peers that one swarm's answer may hold; a tracker gives far fewer."""

MAX_ANNOUNCE_BYTES = 512 * 1024
MAX_REPLY_BYTES = 32 * 1024 * 1024

_PeerIdBytes = Annotated[bytes, msgspec.Meta(min_length=PEER_ID_BYTES, max_length=PEER_ID_BYTES)]
_SwarmIdBytes = Annotated[bytes, msgspec.Meta(min_length=SWARM_ID_BYTES, max_length=SWARM_ID_BYTES)]
_Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
_Host = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
_Name = Annotated[str, msgspec.Meta(max_length=64)]
_DigestText = Annotated[str, msgspec.Meta(max_length=140)]


class SwarmAnnounce(msgspec.Struct, array_like=True, frozen=True):
    """One swarm of an announce.

    `want` is how many peers are asked for; 0 for a seeder that waits to be found. `left` takes the peer off the
    list. The digest stands beside the swarm id because it, and not the id, says which origins own the blob.
    """

    digest: _DigestText
    swarm: _SwarmIdBytes
    want: Annotated[int, msgspec.Meta(ge=0, le=MAX_PEERS)] = 0
    complete: bool = False
    left: bool = False


class AnnounceRequest(msgspec.Struct, array_like=True, frozen=True):
    """Where a peer can be reached, and the swarms it is in.

    `host` counts only where the tracker is told to trust it; otherwise the connection's address does.
    """

    peer_id: _PeerIdBytes
    host: _Host | None
    port: _Port
    role: Role
    zone: _Name
    swarms: Annotated[list[SwarmAnnounce], msgspec.Meta(max_length=MAX_SWARMS)]


class Announcement(msgspec.Struct, frozen=True, eq=False):
    """What an announce says beside who it is that speaks; a crowd says the same, and has one of these.

    `entry_ends` is how the speaker's own `PeerEntry` ends when it is encoded: with port and role.
    """

    host: str | None
    port: int
    role: Role
    zone: str
    swarms: list[SwarmAnnounce]
    entry_ends: bytes


class PeerEntry(msgspec.Struct, array_like=True, frozen=True):
    """A peer that can be dialled."""

    peer_id: _PeerIdBytes
    host: _Host
    port: _Port
    role: _Name


class SwarmPeers(msgspec.Struct, array_like=True, frozen=True):
    """The peers handed out for one swarm, in random order, never the asking peer itself.

    `crowd` is how many of the peers that this tracker lists do not have the whole blob, the asking one included; 0
    when it does not say.
    """

    swarm: _SwarmIdBytes
    peers: Annotated[list[PeerEntry], msgspec.Meta(max_length=MAX_PEERS)]
    crowd: Annotated[int, msgspec.Meta(ge=0)] = 0


class AnnounceReply(msgspec.Struct, array_like=True, frozen=True):
    """The answer to an announce; `interval` is the seconds until the next one is due."""

    interval: Annotated[float, msgspec.Meta(gt=0, le=86400)]
    swarms: Annotated[list[SwarmPeers], msgspec.Meta(max_length=MAX_SWARMS)]


_encoder = msgspec.msgpack.Encoder()
_requests = msgspec.msgpack.Decoder(AnnounceRequest)
_replies = msgspec.msgpack.Decoder(AnnounceReply)
_peers = msgspec.msgpack.Decoder(PeerEntry)

# Source: MessagePack specification: fixarray, array 16, bin 8, float 64.
_PAIR: Final = b"\x92"
_TRIPLE: Final = b"\x93"
_PEER_ID: Final = bytes((0xC4, PEER_ID_BYTES))
_REQUEST_BEGINS: Final = b"\x96" + _PEER_ID
_ENTRY_BEGINS: Final = b"\x94" + _PEER_ID
_PEER_ID_BEGINS: Final = len(_REQUEST_BEGINS)
_PEER_ID_ENDS: Final = _PEER_ID_BEGINS + PEER_ID_BYTES
_REPLY: Final = struct.Struct(">2sd")
_REPLY_BEGINS: Final = _PAIR + b"\xcb"
_SWARM_BEGINS: Final = _TRIPLE + bytes((0xC4, SWARM_ID_BYTES))
_ARRAYS: Final = tuple(
    bytes((0x90 | length,)) if length < 16 else b"\xdc" + length.to_bytes(2, "big") for length in range(MAX_SWARMS + 1)
)
"""What stands before the elements of an array of so many."""


_MAX_REMEMBERED_BYTES: Final = 512
"""More than an announce of two swarms. A node that is in more of them says what no other says."""

_REMEMBERED: Final = 1024


def encode(message: AnnounceRequest | AnnounceReply | PeerEntry | str) -> bytes:
    return _encoder.encode(message)


def joined_entry(peer_id: bytes, host: bytes, announcement: Announcement) -> bytes:
    """The encoded `PeerEntry` of who announced this. Args: host, encoded."""
    return b"".join((_ENTRY_BEGINS, peer_id, host, announcement.entry_ends))


def joined_reply(interval: float, swarms: Sequence[tuple[bytes, Sequence[bytes], int]]) -> bytes:
    """An encoded `AnnounceReply` out of peers that were encoded before: a crowd hears of the same ones over and over.

    Args: swarms, of each its id, of the proper length, its peers, each an encoded `PeerEntry`, and its crowd.
    """
    parts = [_REPLY.pack(_REPLY_BEGINS, interval), _ARRAYS[len(swarms)]]
    for swarm, peers, crowd in swarms:
        parts += [_SWARM_BEGINS, swarm, _ARRAYS[len(peers)], *peers, _encoder.encode(crowd)]
    return b"".join(parts)


def decode_peer(encoded: bytes) -> PeerEntry:
    """A peer that was encoded here."""
    return _peers.decode(encoded)


def decode_request(data: bytes) -> tuple[bytes, Announcement]:
    """Admit an announce. Returns: the peer id of who speaks, and what it says.

    Raises: Invalid, when the bytes are anything else, or longer than an announce may be.
    """
    if len(data) < _MAX_REMEMBERED_BYTES and data.startswith(_REQUEST_BEGINS):
        return data[_PEER_ID_BEGINS:_PEER_ID_ENDS], _announcement(data[_PEER_ID_ENDS:])
    if len(data) > MAX_ANNOUNCE_BYTES:
        raise Invalid(f"an announce of {len(data)} bytes; {MAX_ANNOUNCE_BYTES} is the limit")
    return _decoded(data)


@lru_cache(_REMEMBERED)
def _announcement(behind_the_peer_id: bytes) -> Announcement:
    return _decoded(_REQUEST_BEGINS + bytes(PEER_ID_BYTES) + behind_the_peer_id)[1]


def _decoded(data: bytes) -> tuple[bytes, Announcement]:
    try:
        said = _requests.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"this is not an announce: {error}") from error
    entry_ends = _encoder.encode(said.port) + _encoder.encode(said.role)
    return said.peer_id, Announcement(said.host, said.port, said.role, said.zone, said.swarms, entry_ends)


def decode_reply(data: bytes) -> AnnounceReply:
    """Admit a tracker's answer.

    Raises: Invalid, when the bytes are anything else.
    """
    try:
        return _replies.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"this is not a tracker's answer: {error}") from error
