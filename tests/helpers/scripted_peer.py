"""Peers that follow a script: they speak the real wire, and send what, when and how the test says."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
from tests.helpers.blobs import Blob

from kraken.core.metainfo import SwarmId
from kraken.core.peers import Address, PeerId, Role, peer_id
from kraken.core.pieces import PieceIndex
from kraken.p2p import wire
from kraken.p2p.handshake import HANDSHAKE_BYTES, KR_HAVE_ID, Handshake, Introduction
from kraken.p2p.wire import Kind
from kraken.tracker.messages import AnnounceRequest, SwarmAnnounce, encode

_MAX_BLOCK = 16 * 1024 * 1024
_DEADLINE_SECONDS = 30.0


class ScriptedPeer:
    """Claims to hold all of a blob. Used within `announced`."""

    role = Role.AGENT

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        self.peer_id: PeerId = peer_id(os.urandom(12))
        self.requested: list[int] = []
        """Pieces in the order in which they were asked for."""
        self.sent: list[int] = []
        self.connections = 0
        """How many were ever opened."""
        self.changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def content(self, piece: PieceIndex) -> bytes:
        """What is sent as this piece, as soon as it is to be sent. To be overridden."""
        return bytes(self.blob.piece(piece))

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return when something has happened here that makes `condition` true."""
        async with asyncio.timeout(_DEADLINE_SECONDS), self.changed:
            await self.changed.wait_for(condition)

    async def start(self) -> Address:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return Address("127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def announce(self, tracker: Address, port: int) -> None:
        """Tell a tracker that the blob is here."""
        metainfo = self.blob.metainfo
        swarm = SwarmAnnounce(str(metainfo.digest), metainfo.swarm, want=0, complete=True)
        request = AnnounceRequest(self.peer_id, None, port, self.role, "", [swarm])
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://{tracker}/announce", data=encode(request)) as answer,
        ):
            assert answer.status == 200, await answer.text()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._converse(reader, writer)
        writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs = Handshake.decode(await reader.readexactly(HANDSHAKE_BYTES))
        assert theirs.swarm == self.blob.metainfo.swarm
        writer.write(greeting(theirs.swarm, self.peer_id, self.role) + wire.encode(wire.Flag(Kind.HAVE_ALL)))
        async with self.changed:
            self.connections += 1
            self.changed.notify_all()
        while True:
            message = await received(reader)
            if isinstance(message, wire.Span) and message.kind is Kind.REQUEST:
                answering = asyncio.create_task(self._answer(message, writer))
                self._tasks.add(answering)
                answering.add_done_callback(self._tasks.discard)

    async def _answer(self, span: wire.Span, writer: asyncio.StreamWriter) -> None:
        async with self.changed:
            self.requested.append(span.piece)
            self.changed.notify_all()
        data = await self.content(PieceIndex(span.piece))
        part = data[span.begin : span.begin + span.length]
        writer.write(wire.encode(wire.PieceHeader(span.piece, span.begin, len(part))) + part)
        async with self.changed:
            self.sent.append(span.piece)
            self.changed.notify_all()


class GatedSeeder(ScriptedPeer):
    """Sends right pieces, and only those that the test lets through; requests for others wait.

    It is there as an origin, so that an agent which meets nobody else asks for pieces in their order.
    """

    role = Role.ORIGIN

    def __init__(self, blob: Blob) -> None:
        super().__init__(blob)
        self._is_open: Callable[[int], bool] = lambda _piece: False
        self._left = 0

    async def content(self, piece: PieceIndex) -> bytes:
        async with self.changed:
            await self.changed.wait_for(lambda: self._left > 0 and self._is_open(piece))
            self._left -= 1
        return await super().content(piece)

    async def let(self, count: int = 1 << 30, which: Callable[[int], bool] = lambda _piece: True) -> None:
        """Let so many more pieces through, of those that `which` admits."""
        async with self.changed:
            self._left, self._is_open = count, which
            self.changed.notify_all()


@asynccontextmanager
async def announced(peer: ScriptedPeer, *trackers: Address) -> AsyncIterator[None]:
    """The peer listens, and the trackers know of it."""
    address = await peer.start()
    try:
        for tracker in trackers:
            await peer.announce(tracker, address.port)
        yield
    finally:
        await peer.stop()


def greeting(swarm: SwarmId, me: PeerId, role: Role = Role.AGENT) -> bytes:
    """How a Kraken peer opens: both handshakes."""
    introduction = Introduction(role, "", _MAX_BLOCK, KR_HAVE_ID)
    return Handshake(swarm, me).encode() + wire.encode(wire.Extended(0, introduction.encode()))


async def received(reader: asyncio.StreamReader) -> wire.Message | None:
    """The next message of a peer, None for a keep-alive. Data of a piece is read past."""
    (length,) = wire.PREFIX.unpack(await reader.readexactly(wire.PREFIX.size))
    frame = await reader.readexactly(length)
    return wire.decode(frame, length) if frame else None
