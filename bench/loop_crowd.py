"""The fourteen neighbours of the agent that the bench `loop` measures, as one process.

They are scripted. Each begins with some of the pieces and has one more whenever the agent has one more, as
in a crowd in which all go forward alike; each piece that the agent has is asked of it by one of them. So for every
piece that comes in one goes out, and fourteen are told of each way. They keep nothing of what they get.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from bench.peer_child import say
from kraken.core.metainfo import Metainfo
from kraken.core.peers import Address, Role, peer_id
from kraken.core.pieces import PieceIndex
from kraken.p2p import bitfield, wire
from kraken.p2p.handshake import HANDSHAKE_BYTES, KR_HAVE_ID, Handshake, Introduction
from kraken.p2p.io.connection import Connection
from kraken.p2p.io.line import Line
from kraken.p2p.io.runner import MAX_BLOCK
from kraken.p2p.io.transport import PlainTransport
from kraken.p2p.ledger import PeerKey
from kraken.p2p.settings import SwarmSettings
from kraken.p2p.wire import FrameLimits, Kind

NEIGHBOURS = 14
_HELD_AT_FIRST = 64  # pieces of each neighbour
_GATHER_SECONDS = SwarmSettings().have_batch_seconds


class Crowd:
    """The neighbours of one agent, during one pull."""

    def __init__(self, metainfo: Metainfo, fd: int) -> None:
        """Args: fd, the whole blob."""
        self.metainfo = metainfo
        self.fd = fd
        self.neighbours: list[Neighbour] = []
        self.sink = memoryview(bytearray(metainfo.pieces.piece_length))
        self.left = asyncio.Event()
        self._gained = 0
        self._telling = False

    async def join(self, agent: Address) -> None:
        """Connect all neighbours to the agent."""
        for number in range(NEIGHBOURS):
            line = await Line.to(agent)
            await line.send_all(Handshake(self.metainfo.swarm, peer_id(os.urandom(12))).encode())
            await line.receive_exactly(HANDSHAKE_BYTES)
            self.neighbours.append(Neighbour(self, number, PlainTransport(line.sock)))

    def piece_sent(self) -> None:
        """The agent has one more piece, so everybody has; they say so a moment later."""
        self._gained += 1
        if not self._telling:
            self._telling = True
            asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._tell)

    def _tell(self) -> None:
        self._telling = False
        gained, self._gained = self._gained, 0
        for neighbour in self.neighbours:
            neighbour.gain(gained)


class Neighbour:
    """One of them: the `Receiver` of its connection to the agent."""

    def __init__(self, crowd: Crowd, number: int, transport: PlainTransport) -> None:
        pieces = crowd.metainfo.pieces
        self._crowd = crowd
        self._number = number
        self._order = random.Random(number).sample(range(pieces.count), pieces.count)
        held = sum(1 << piece for piece in self._order[:_HELD_AT_FIRST])
        del self._order[:_HELD_AT_FIRST]
        limits = FrameLimits(-(-pieces.count // 8), pieces.piece_length)
        self._connection = Connection(PeerKey(number), f"neighbour {number}", transport, limits, self)
        introduction = Introduction(Role.AGENT, "", MAX_BLOCK, KR_HAVE_ID)
        self._connection.send(
            wire.Extended(0, introduction.encode()), wire.Bitfield(bitfield.to_wire(held, pieces.count))
        )
        self._connection.start()

    def gain(self, count: int) -> None:
        """It has so many pieces more."""
        told = self._order[:count]
        del self._order[:count]
        if told:
            self._connection.send(wire.Extended(KR_HAVE_ID, wire.encode_have_batch(0, told)))

    def message_arrived(self, peer: Connection, message: wire.Message) -> None:
        pieces = self._crowd.metainfo.pieces
        if isinstance(message, wire.Span) and message.kind is Kind.REQUEST:
            header = wire.PieceHeader(message.piece, message.begin, message.length)
            peer.send_piece(header, self._crowd.fd, pieces.start(PieceIndex(message.piece)) + message.begin)
        elif isinstance(message, wire.Extended) and message.extended_id == KR_HAVE_ID:
            _, numbers = wire.decode_have_batch(message.payload)
            wanted = [PieceIndex(piece) for piece in numbers if piece % NEIGHBOURS == self._number]
            peer.send(*(wire.Span(Kind.REQUEST, piece, 0, pieces.size(piece)) for piece in wanted))

    def place_for(self, _peer: Connection, header: wire.PieceHeader) -> memoryview:
        return self._crowd.sink[: header.length]

    def block_arrived(self, _peer: Connection, _header: wire.PieceHeader) -> None: ...

    def span_sent(self, _peer: Connection) -> None:
        self._crowd.piece_sent()

    def connection_closed(self, _peer: Connection, _reason: str) -> None:
        self._crowd.neighbours.remove(self)
        if not self._crowd.neighbours:
            self._crowd.left.set()


async def accompany(source: Path, metainfo: Metainfo, agent: Address) -> None:
    """Be the neighbours of an agent; for each line on standard input during one pull more."""
    fd = os.open(source, os.O_RDONLY)
    while await asyncio.to_thread(sys.stdin.readline) == "join\n":
        crowd = Crowd(metainfo, fd)
        await crowd.join(agent)
        await crowd.left.wait()
        say(left=True)
    os.close(fd)


def main() -> None:
    source, metainfo, agent = sys.argv[1:]
    decoded = Metainfo.decode(bytes.fromhex(Path(metainfo).read_text()))
    asyncio.run(accompany(Path(source), decoded, Address.parse(agent)))


if __name__ == "__main__":
    main()
