"""Nodes on loopback with stores in memory, and a peer whose every byte the test writes."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from tests.helpers.blobs import Blob

from kraken.core.metainfo import SwarmId
from kraken.core.peers import PeerId, Role
from kraken.core.pieces import MIB
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.p2p import wire
from kraken.p2p.dialing import Candidate
from kraken.p2p.events import PeersOffered
from kraken.p2p.handshake import HANDSHAKE_BYTES, Handshake, Introduction
from kraken.p2p.io.node import PeerNode
from kraken.p2p.io.runner import SwarmRunner
from kraken.p2p.settings import PeerSettings, SwarmSettings
from kraken.runtime.bandwidth import Traffic
from kraken.runtime.clock import SystemClock
from kraken.runtime.threads import FileThreads
from kraken.storage.io.catalog_store import CatalogBlobStore
from kraken.storage.io.memory import MemoryMedium

M = TypeVar("M", bound=wire.Message)


class Site:
    """A node with its store, for one test."""

    def __init__(self, role: Role, settings: PeerSettings, swarm: SwarmSettings) -> None:
        self.threads = FileThreads(2)
        self.metrics = Metrics(role.value, "test")
        log = get_logger(role.value, "test")
        self.store = CatalogBlobStore(MemoryMedium(), self.threads, SystemClock(), log, self.metrics)
        self.traffic = Traffic()
        self.node = PeerNode(role, self.store, settings, swarm, log, self.metrics, traffic=self.traffic, seed=1)

    @property
    def candidate(self) -> Candidate:
        return Candidate(self.node.address, self.node.role)

    async def put(self, blob: Blob, only: set[int] | None = None) -> None:
        """Let the store hold these pieces of a blob, or all of it."""
        with await self.store.partial(blob.metainfo) as held:
            for piece in blob.metainfo.pieces.indices():
                if only is None or piece in only:
                    assert await held.write_piece(piece, blob.piece(piece))
            if only is None:
                await self.store.finish(held)

    async def fetch(self, blob: Blob, *candidates: Candidate) -> SwarmRunner:
        """Begin to fetch a blob from these peers."""
        with await self.store.partial(blob.metainfo) as held:
            runner = self.node.join(held)
        runner.demand(+1)
        runner.feed(PeersOffered(candidates))
        return runner


@asynccontextmanager
async def sites(
    *roles: Role, settings: PeerSettings | Sequence[PeerSettings] | None = None, swarm: SwarmSettings | None = None
) -> AsyncIterator[list[Site]]:
    """Started nodes, stopped at the end. Args: settings, of all, or of each in turn."""
    own = [settings or PeerSettings()] * len(roles) if not isinstance(settings, Sequence) else settings
    made = [Site(role, its, swarm or SwarmSettings()) for role, its in zip(roles, own, strict=True)]
    try:
        for site in made:
            await site.store.start()
            await site.node.start()
        yield made
    finally:
        for site in made:
            await site.node.stop()
            await site.store.close()
            site.threads.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so; 10 seconds are forever."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


class Scripted:
    """A peer whose every byte the test writes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def dial(cls, site: Site, swarm: SwarmId, peer_id: bytes = b"scripted".ljust(20, b"-")) -> Scripted:
        address = site.node.address
        peer = cls(*await asyncio.open_connection(address.host, address.port))
        peer.writer.write(Handshake(swarm, PeerId(peer_id)).encode())
        Handshake.decode(await peer.reader.readexactly(HANDSHAKE_BYTES))
        peer.say(wire.Extended(0, Introduction(Role.AGENT, "", 16 * MIB, 1).encode()))
        return peer

    def say(self, *messages: wire.Message) -> None:
        self.writer.write(b"".join(map(wire.encode, messages)))

    async def hear(self, kind: type[M]) -> M:
        """The next message of a kind; others before it are passed over."""
        async with asyncio.timeout(10):
            while True:
                (length,) = struct.unpack(">I", await self.reader.readexactly(4))
                message = wire.decode(await self.reader.readexactly(length), length) if length else None
                if isinstance(message, kind):
                    return message

    async def is_closed(self) -> bool:
        """Whether the other side closes within 10 seconds."""
        with suppress(ConnectionError):
            async with asyncio.timeout(10):
                await self.reader.read()
        return True

    def close(self) -> None:
        self.writer.close()
