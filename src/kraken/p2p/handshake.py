"""The two handshakes: BEP 3's 68 bytes, then BEP 10's dictionary with what Kraken peers add.

Between Kraken peers the dictionary carries `kr`: the longest block they answer, their role, their
zone and the version of what they speak. A peer without it is a stock BitTorrent client, which is
asked for, and given, blocks of 16 KiB.
"""

from __future__ import annotations

from dataclasses import dataclass

from kraken.core.errors import Invalid
from kraken.core.metainfo import SWARM_ID_BYTES, SwarmId
from kraken.core.peers import PEER_ID_BYTES, PeerId, Role
from kraken.p2p import bencode

PROTOCOL = b"\x13BitTorrent protocol"
HANDSHAKE_BYTES = len(PROTOCOL) + 8 + SWARM_ID_BYTES + PEER_ID_BYTES

STOCK_BLOCK = 16 * 1024
"""Bytes of a block as stock clients ask for it. Source: BEP 3, peer messages, request."""

KR_VERSION = 1
KR_HAVE_ID = 1
"""The id under which we take kr_have messages; a peer announces its own."""

MAX_ZONE_BYTES = 64

_EXTENDED = (5, 0x10)  # BEP 10: bit 20 from the right of the reserved bytes
_FAST = (7, 0x04)  # BEP 6: the third least significant bit of the last one


@dataclass(frozen=True, slots=True)
class Handshake:
    """The opening 68 bytes of either side."""

    swarm: SwarmId
    peer: PeerId
    extended: bool = True
    fast: bool = True

    def encode(self) -> bytes:
        reserved = bytearray(8)
        for wanted, (at, bit) in ((self.extended, _EXTENDED), (self.fast, _FAST)):
            if wanted:
                reserved[at] |= bit
        return PROTOCOL + bytes(reserved) + self.swarm + self.peer

    @classmethod
    def decode(cls, data: bytes) -> Handshake:
        """Raises: Invalid, when these are not 68 bytes of BEP 3."""
        if len(data) != HANDSHAKE_BYTES or not data.startswith(PROTOCOL):
            raise Invalid("the peer does not open with a BitTorrent handshake")
        reserved = data[len(PROTOCOL) : len(PROTOCOL) + 8]
        swarm = data[len(PROTOCOL) + 8 : -PEER_ID_BYTES]
        return cls(
            SwarmId(swarm),
            PeerId(data[-PEER_ID_BYTES:]),
            extended=bool(reserved[_EXTENDED[0]] & _EXTENDED[1]),
            fast=bool(reserved[_FAST[0]] & _FAST[1]),
        )


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a peer says of itself in the extension handshake.

    `max_block` is bytes, `have_id` the id under which it takes kr_have (0: it does not).
    """

    role: Role = Role.AGENT
    zone: str = ""
    max_block: int = STOCK_BLOCK
    have_id: int = 0

    @property
    def is_kraken(self) -> bool:
        return self.have_id != 0

    def encode(self) -> bytes:
        ours: dict[bytes, bencode.Encodable] = {
            b"maxblk": self.max_block,
            b"role": self.role.value.encode(),
            b"v": KR_VERSION,
            b"zone": self.zone.encode(),
        }
        return bencode.encode({b"kr": ours, b"m": {b"kr_have": self.have_id}})

    @classmethod
    def decode(cls, payload: bytes) -> Introduction:
        """Read a peer's dictionary; what is not Kraken's is passed over.

        Raises: Invalid, when it is no dictionary, or the Kraken part of it is malformed.
        """
        top = bencode.decode(payload)
        if not isinstance(top, dict):
            raise Invalid("an extension handshake that is no dictionary")
        ours, messages = top.get(b"kr"), top.get(b"m")
        if not isinstance(ours, dict) or not isinstance(messages, dict):
            return cls()
        role, zone, max_block = ours.get(b"role"), ours.get(b"zone", b""), ours.get(b"maxblk")
        have_id = messages.get(b"kr_have", 0)
        if not isinstance(role, bytes) or not isinstance(zone, bytes):
            raise Invalid(f"role {role!r} and zone {zone!r} should be strings")
        if not isinstance(max_block, int) or not STOCK_BLOCK <= max_block <= 1 << 31:
            raise Invalid(f"a longest block of {max_block!r} bytes")
        if not isinstance(have_id, int) or not 0 < have_id < 256:
            raise Invalid(f"kr_have under id {have_id!r}")
        if len(zone) > MAX_ZONE_BYTES:
            raise Invalid(f"a zone name of {len(zone)} bytes")
        try:
            return cls(Role(role.decode("ascii")), zone.decode("utf-8"), max_block, have_id)
        except ValueError as error:
            raise Invalid(f"role {role!r}, zone {zone!r}") from error
