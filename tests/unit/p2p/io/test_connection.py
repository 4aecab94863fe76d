"""One connection on loopback: when it reads what has come of a block."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.helpers.tcp import tcp_pair

from kraken.core.pieces import KIB
from kraken.p2p import wire
from kraken.p2p.io.connection import Connection
from kraken.p2p.io.transport import PlainTransport
from kraken.p2p.ledger import PeerKey
from kraken.p2p.wire import FrameLimits, Message, PieceHeader

BLOCK = 256 * KIB
PACKET = 1 * KIB
QUIET_SECONDS = 0.05


class Recorded:
    """A receiver that writes down what it is told."""

    def __init__(self) -> None:
        self.memory = memoryview(bytearray(BLOCK))
        self.blocks: list[PieceHeader] = []
        self.messages: list[Message] = []
        self.ends: list[str] = []

    def message_arrived(self, _peer: Connection, message: Message) -> None:
        self.messages.append(message)

    def place_for(self, _peer: Connection, header: PieceHeader) -> memoryview | None:
        return self.memory[: header.length]

    def block_arrived(self, _peer: Connection, header: PieceHeader) -> None:
        self.blocks.append(header)

    def span_sent(self, _peer: Connection) -> None:
        raise AssertionError("nothing is sent here")

    def connection_closed(self, _peer: Connection, reason: str) -> None:
        self.ends.append(reason)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Connection, Recorded, socket.socket]]:
    """A connection that reads, its receiver, and the other end."""
    here, there = tcp_pair()
    here.setblocking(False)
    receiver = Recorded()
    limits = FrameLimits(bitfield=1, piece=BLOCK)
    connection = Connection(PeerKey(1), "there", PlainTransport(here), limits, receiver)
    connection.start()
    with there:
        yield connection, receiver, there
        connection.close("the test is over")


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def begin(connection: Connection, there: socket.socket, length: int) -> None:
    """Let a block begin, of which nothing but the header has come."""
    there.sendall(wire.encode(PieceHeader(0, 0, length)))
    await until(lambda: connection.missing)
    assert connection.missing == length


async def test_packets_of_a_block_are_read_when_they_are_worth_a_wake_up() -> None:
    async with connected() as (connection, _, there):
        await begin(connection, there, BLOCK)

        for _ in range(127):
            there.sendall(bytes(PACKET))
            await asyncio.sleep(0)
        await asyncio.sleep(QUIET_SECONDS)
        before = connection.missing
        there.sendall(bytes(PACKET))
        await until(lambda: connection.missing < BLOCK)

        assert before == BLOCK
        assert connection.missing == BLOCK - 128 * PACKET


async def test_the_end_of_a_block_and_what_follows_it_are_read_at_once() -> None:
    async with connected() as (connection, receiver, there):
        await begin(connection, there, 129 * KIB)
        there.sendall(bytes(128 * KIB))
        await until(lambda: connection.missing == KIB)

        there.sendall(bytes(KIB))
        await until(lambda: receiver.blocks)
        there.sendall(wire.encode(wire.Have(7)))
        await until(lambda: receiver.messages)

        assert receiver.blocks == [PieceHeader(0, 0, 129 * KIB)]
        assert receiver.messages == [wire.Have(7)]


async def test_a_little_that_has_waited_for_a_second_is_read() -> None:
    async with connected() as (connection, _, there):
        await begin(connection, there, BLOCK)
        there.sendall(bytes(PACKET))
        await asyncio.sleep(QUIET_SECONDS)

        connection.look(connection.received_at + 1.0)
        await asyncio.sleep(QUIET_SECONDS)
        assert connection.missing == BLOCK

        connection.look(connection.received_at + 1.001)
        await until(lambda: connection.missing == BLOCK - PACKET)
        there.sendall(bytes(PACKET))
        await asyncio.sleep(QUIET_SECONDS)
        assert connection.missing == BLOCK - PACKET, "and then it is waited for more again"


async def test_a_peer_that_goes_away_in_the_middle_of_a_block_is_noticed() -> None:
    async with connected() as (connection, receiver, there):
        await begin(connection, there, BLOCK)
        there.sendall(bytes(PACKET))

        there.close()
        await until(lambda: receiver.ends)

        assert receiver.ends == ["closed by the peer in the middle of a piece"]
