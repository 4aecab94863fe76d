"""Peers that say they have a blob, and send other bytes, or none."""

from __future__ import annotations

import asyncio

from tests.helpers.scripted_peer import ScriptedPeer

from kraken.core.pieces import PieceIndex
from kraken.p2p import wire
from kraken.p2p.wire import Kind


class Liar(ScriptedPeer):
    """One byte in each piece that it sends is wrong."""

    async def content(self, piece: PieceIndex) -> bytes:
        data = bytearray(await super().content(piece))
        data[len(data) // 2] ^= 0xFF
        return bytes(data)


class Denier(ScriptedPeer):
    """Rejects every request for what it says it has."""

    async def _answer(self, span: wire.Span, writer: asyncio.StreamWriter) -> None:
        async with self.changed:
            self.requested.append(span.piece)
            self.changed.notify_all()
        writer.write(wire.encode(wire.Span(Kind.REJECT, span.piece, span.begin, span.length)))


class Silent(ScriptedPeer):
    """Answers no request at all."""

    async def content(self, piece: PieceIndex) -> bytes:
        await asyncio.Event().wait()
        return await super().content(piece)
