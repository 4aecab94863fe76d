"""What a limit of bandwidth lets through: one peer that sends, one that receives, no hashing, a limit on either side.

The limit is changed while bytes move. Each figure is what moved within a second, as a part of what was allowed.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile

from bench.figures import Figure
from bench.lab import MIB
from kraken.p2p.io.connection import Connection
from kraken.p2p.io.transport import PlainTransport
from kraken.p2p.ledger import PeerKey
from kraken.p2p.wire import FrameLimits, Message, PieceHeader
from kraken.runtime.bandwidth import Bandwidth, Traffic

RATES = (4 * MIB, 64 * MIB)
RUNS = 5
CONNECTIONS = 4
PIECE = MIB


class Receiver:
    """Takes pieces into one buffer, and counts their bytes as they are complete."""

    def __init__(self) -> None:
        self.pieces = 0
        self._place = memoryview(bytearray(PIECE))

    def message_arrived(self, _connection: Connection, _message: Message) -> None:
        """There are none."""

    def place_for(self, _connection: Connection, header: PieceHeader) -> memoryview:
        return self._place[: header.length]

    def block_arrived(self, _connection: Connection, _header: PieceHeader) -> None:
        self.pieces += 1

    def span_sent(self, _connection: Connection) -> None:
        """Counted by who receives it."""

    def connection_closed(self, _connection: Connection, _reason: str) -> None:
        """At the end of the bench."""


def measure() -> list[Figure]:
    """Mark: within 5 % of what was allowed."""
    return asyncio.run(_measure())


async def _measure() -> list[Figure]:
    figures: list[Figure] = []
    for side in ("sending", "receiving"):
        link = Bandwidth(RATES[0])
        traffic = Traffic(sent=link) if side == "sending" else Traffic(received=link)
        for rate, parts in (await _moved(side, link, traffic)).items():
            errors = tuple(abs(part - 1) * 100 for part in parts)
            figures.append(Figure("bandwidth", f"{side}, {rate // MIB} MiB/s", "% off", errors, 5.0, "%"))
    return figures


async def _moved(side: str, link: Bandwidth, traffic: Traffic) -> dict[int, list[float]]:
    """By rate, which part of what was allowed moved in each second."""
    limits = FrameLimits(bitfield=1, piece=PIECE)
    with tempfile.TemporaryFile() as file:
        file.write(os.urandom(PIECE))
        file.flush()
        counted: list[_Counted] = []
        for number in range(CONNECTIONS):
            ours, theirs = socket.socketpair()
            for sock in (ours, theirs):
                sock.setblocking(False)
            sender, receiver = Receiver(), Receiver()
            given = (traffic, None) if side == "sending" else (None, traffic)
            out = Connection(PeerKey(number), "sender", PlainTransport(ours), limits, sender, given[0])
            into = Connection(PeerKey(number), "receiver", PlainTransport(theirs), limits, receiver, given[1])
            out.start()
            into.start()
            counted.append(_Counted(out, into, receiver))
        for connection in counted:
            for _ in range(3):
                connection.out.send_piece(PieceHeader(0, 0, PIECE), file.fileno(), 0)
        feeding = asyncio.create_task(_feed(counted, file.fileno()))
        parts: dict[int, list[float]] = {}
        for rate in RATES:
            link.set_rate(rate)
            await asyncio.sleep(0.5)
            for _run in range(RUNS):
                before, begun = _bytes(counted), asyncio.get_running_loop().time()
                await asyncio.sleep(1.0)
                seconds = asyncio.get_running_loop().time() - begun
                parts.setdefault(rate, []).append((_bytes(counted) - before) / (rate * seconds))
        feeding.cancel()
        for it in counted:
            it.into.close("done")
            it.out.close("done")
        return parts


class _Counted:
    """A connection, and how far it is."""

    def __init__(self, out: Connection, into: Connection, receiver: Receiver) -> None:
        self.out, self.into, self.receiver = out, into, receiver
        self.fed = 3

    @property
    def moved(self) -> int:
        return self.receiver.pieces * PIECE + (PIECE - self.into.missing if self.into.missing else 0)


def _bytes(counted: list[_Counted]) -> int:
    return sum(it.moved for it in counted)


async def _feed(counted: list[_Counted], fd: int) -> None:
    """Keep three pieces waiting on each connection."""
    while True:
        for it in counted:
            while it.fed - it.receiver.pieces < 3:
                it.fed += 1
                it.out.send_piece(PieceHeader(0, 0, PIECE), fd, 0)
        await asyncio.sleep(0.005)
