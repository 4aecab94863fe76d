"""A peer that says it has a blob, and sends other bytes."""

from __future__ import annotations

from tests.helpers.scripted_peer import ScriptedPeer

from kraken.core.pieces import PieceIndex


class Liar(ScriptedPeer):
    """One byte in each piece that it sends is wrong."""

    async def content(self, piece: PieceIndex) -> bytes:
        data = bytearray(await super().content(piece))
        data[len(data) // 2] ^= 0xFF
        return bytes(data)
