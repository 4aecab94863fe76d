"""Peers that lie, babble, flood or fall silent: no client notices, and the agent goes on serving everybody else."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count

import pytest
from tests.helpers.blobs import Blob, a_blob
from tests.helpers.dev_cluster import DevCluster, dev_cluster
from tests.helpers.liar import Denier, Liar, Silent
from tests.helpers.pulling import pull, push, right
from tests.helpers.scripted_peer import ScriptedPeer, announced, greeting, received
from tests.helpers.tools import until

from kraken.cli.layout import Counts
from kraken.core.metainfo import SwarmId
from kraken.core.peers import Address, PeerId, peer_id
from kraken.core.pieces import KIB, MIB
from kraken.p2p import wire
from kraken.p2p.handshake import HANDSHAKE_BYTES, PROTOCOL, Handshake
from kraken.p2p.wire import Kind

COUNTS = Counts(origins=2, trackers=1, indexes=1, proxies=1, agents=2)
SETTINGS = {"agent": {"peer": {"handshake_seconds": 1, "stall_seconds": 2}}}
PIECE = 256 * KIB
PIECES = 6
CLOSED_SECONDS = 15.0

_seeds = count(2000)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    with dev_cluster(tmp_path_factory.mktemp("hostile"), COUNTS, settings=SETTINGS) as running:
        yield running


@pytest.fixture
async def blob(cluster: DevCluster) -> Blob:
    """A blob that agent-1 has whole."""
    blob = a_blob(PIECES, tail=1000, seed=next(_seeds))
    await push(cluster.proxy, blob.data)
    assert await pull(cluster.agent, blob.digest) == right(blob.digest, len(blob.data))
    return blob


# Liars.


async def test_a_peer_that_sends_wrong_bytes_is_banned_and_the_client_gets_the_right_ones(cluster: DevCluster) -> None:
    blob = a_blob(40, tail=1000, seed=next(_seeds))
    await push(cluster.proxy, blob.data)
    liar = Liar(blob)
    before = bans(cluster)

    async with announced(liar, cluster["tracker-1"].http):
        assert await pull(cluster.agent, blob.digest) == right(blob.digest, len(blob.data))

        assert liar.sent, "the liar was never asked"
        assert bans(cluster) == before + 1
        assert cluster.metric("agent-1", "kraken_p2p_pieces_total", result="corrupt") >= 1
        banned = cluster.events("peer_banned", peer_id=liar.peer_id.hex(), component="agent", name="agent-1")
        assert [line["reason"] for line in banned] == ["corrupt piece"]
        corrupt = cluster.events("piece_corrupt", digest=str(blob.digest), name="agent-1")
        assert {line["piece"] for line in corrupt} <= set(liar.sent)
        assert await is_refused(cluster, blob.metainfo.swarm, liar.peer_id)
    assert cluster.crashes() == 0


async def test_many_liars_and_no_honest_agent_still_give_the_right_bytes(cluster: DevCluster) -> None:
    blob = a_blob(40, tail=1000, seed=next(_seeds))
    await push(cluster.proxy, blob.data)
    liars = [Liar(blob) for _ in range(6)]
    tracker = cluster["tracker-1"].http

    async with (
        announced(liars[0], tracker), announced(liars[1], tracker), announced(liars[2], tracker),
        announced(liars[3], tracker), announced(liars[4], tracker), announced(liars[5], tracker),
    ):  # fmt: skip
        pulled = await asyncio.gather(*(pull(agent.http, blob.digest) for agent in cluster.of("agent")))

    assert pulled == [right(blob.digest, len(blob.data))] * 2
    for agent in cluster.of("agent"):
        assert cluster.blob_path(agent.name, blob.digest).read_bytes() == blob.data


@pytest.mark.parametrize("kind", [Denier, Silent])
async def test_peers_that_only_say_that_they_have_the_blob_keep_nobody_from_it(
    cluster: DevCluster, kind: type[ScriptedPeer]
) -> None:
    blob = a_blob(40, tail=1000, seed=next(_seeds))
    await push(cluster.proxy, blob.data)
    pretenders = [kind(blob) for _ in range(3)]
    tracker = cluster["tracker-1"].http
    before = bans(cluster)

    async with announced(pretenders[0], tracker), announced(pretenders[1], tracker), announced(pretenders[2], tracker):
        pulled = await asyncio.gather(*(pull(agent.http, blob.digest) for agent in cluster.of("agent")))

        assert any(peer.requested for peer in pretenders), "none was ever asked"
    assert pulled == [right(blob.digest, len(blob.data))] * 2
    assert bans(cluster) == before, "nothing is proven against them"
    assert cluster.crashes() == 0


# What no peer may send.

Attack = Callable[[Blob], bytes]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def frame(kind: int, body: bytes = b"", length: int | None = None) -> bytes:
    """A frame as the attacker likes it: the length may be a lie."""
    return struct.pack(">I", 1 + len(body) if length is None else length) + bytes([kind]) + body


def span(kind: Kind, piece: int, begin: int, length: int) -> bytes:
    return frame(kind, struct.pack(">III", piece, begin, length))


ATTACKS: dict[str, Attack] = {
    "a frame of 4 GiB": lambda _: frame(Kind.PIECE, b"\0" * 8, length=0xFFFFFFFF),
    "a bitfield of 2 GiB": lambda _: frame(Kind.BITFIELD, b"\xff", length=0x7FFFFFFF),
    "an extended message of 1 GiB": lambda _: frame(Kind.EXTENDED, b"\0", length=0x40000000),
    "a request of 1 GiB": lambda _: frame(Kind.REQUEST, b"\0" * 12, length=0x40000000),
    "an unknown message": lambda _: frame(99, b"hello"),
    "a have that is too short": lambda _: frame(Kind.HAVE, b"\0\0"),
    "a bitfield that is too long": lambda _: frame(Kind.BITFIELD, b"\xff" * 20),
    "a bitfield with spare bits": lambda _: frame(Kind.BITFIELD, b"\xff"),
    "a have of no piece": lambda _: frame(Kind.HAVE, struct.pack(">I", PIECES)),
    "a have of the last number there is": lambda _: frame(Kind.HAVE, b"\xff" * 4),
    "a request of no piece": lambda _: span(Kind.REQUEST, PIECES, 0, 1024),
    "a request of nothing": lambda _: span(Kind.REQUEST, 0, 0, 0),
    "a request beyond the piece": lambda _: span(Kind.REQUEST, 0, PIECE - 10, 11),
    "a request beyond the last piece": lambda _: span(Kind.REQUEST, PIECES - 1, 0, 1001),
    "a request that wraps around": lambda _: span(Kind.REQUEST, 0, 0xFFFFFFFF, 0xFFFFFFFF),
    "a request longer than any piece": lambda _: span(Kind.REQUEST, 0, 0, 32 * MIB),
    "a cancel of no piece": lambda _: span(Kind.CANCEL, 0xFFFFFFFF, 0, 1024),
    "a reject of what was not asked": lambda _: span(Kind.REJECT, 0, 0, PIECE),
    "a piece that was not asked for": lambda blob: wire.encode(wire.PieceHeader(0, 0, PIECE)) + blob.data[:PIECE],
    "a piece that is no piece": lambda _: wire.encode(wire.PieceHeader(77, 0, 10)) + b"0123456789",
    "a piece without data": lambda _: frame(Kind.PIECE, b"\0" * 8),
    "an extension handshake that is no bencoding": lambda _: frame(Kind.EXTENDED, b"\0not bencoding"),
    "an extension handshake nested deeply": lambda _: frame(Kind.EXTENDED, b"\0" + b"l" * 60_000),
    "an extension handshake with an endless string": lambda _: frame(Kind.EXTENDED, b"\0d99999999999999999999:"),
    "a kr_have of no piece": lambda _: frame(Kind.EXTENDED, b"\1" + struct.pack(">HI", 0, PIECES)),
    "a kr_have cut short": lambda _: frame(Kind.EXTENDED, b"\1" + b"\0\0\0"),
}
PLAIN = {"an extension handshake that is no bencoding", "an extension handshake nested deeply",
         "an extension handshake with an endless string"}  # fmt: skip
"""Sent without our own extension handshake ahead of it, for only the first one counts."""


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_peer_that_breaks_the_rules_is_closed_and_others_are_served(
    cluster: DevCluster, blob: Blob, attack: str
) -> None:
    before = memory(cluster)
    async with connected(cluster) as (reader, writer):
        me = peer_id(os.urandom(12))
        opening = greeting(blob.metainfo.swarm, me)
        writer.write(opening[:HANDSHAKE_BYTES] if attack in PLAIN else opening)
        writer.write(ATTACKS[attack](blob))
        await is_closed(reader)

    await still_serves(cluster, blob)
    assert memory(cluster) - before < 64 * MIB


OPENINGS = {
    "nothing": b"",
    "garbage": b"\x16\x03\x01\x02\x00" * 40,
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b" " * 60,
    "half a handshake": PROTOCOL + b"\0" * 8,
    "zeroes": bytes(HANDSHAKE_BYTES),
    "a swarm that is not here": Handshake(SwarmId(b"s" * 20), peer_id(b"r" * 12)).encode(),
}


@pytest.mark.parametrize("opening", OPENINGS)
async def test_what_is_no_handshake_is_closed_soon(cluster: DevCluster, blob: Blob, opening: str) -> None:
    async with connected(cluster) as (reader, writer):
        writer.write(OPENINGS[opening])
        assert await is_closed(reader) == b""

    await still_serves(cluster, blob)


async def test_hundreds_of_half_open_connections_keep_nobody_out(cluster: DevCluster, blob: Blob) -> None:
    silent = [await asyncio.open_connection(*agent_peer(cluster)) for _ in range(300)]
    async with connected(cluster) as honest:
        await greeted(blob.metainfo.swarm, honest)
        assert await a_piece(honest, 2) == blob.data[2 * PIECE : 3 * PIECE]
    for reader, _ in silent:
        assert await is_closed(reader) == b""
    for _, writer in silent:
        writer.close()

    await still_serves(cluster, blob)


async def test_a_flood_of_requests_that_nobody_reads_ends_and_starves_nobody(cluster: DevCluster, blob: Blob) -> None:
    async with connected(cluster) as (_, flooder):
        flooder.write(greeting(blob.metainfo.swarm, peer_id(os.urandom(12))))
        flood = asyncio.create_task(send_for_ever(flooder, span(Kind.REQUEST, 0, 0, PIECE) * 1000))
        async with connected(cluster) as honest:
            await greeted(blob.metainfo.swarm, honest)
            for piece in range(PIECES - 1):
                assert await a_piece(honest, piece) == blob.data[piece * PIECE : (piece + 1) * PIECE]
        async with asyncio.timeout(60):
            await flood

    await still_serves(cluster, blob)
    assert memory(cluster) < 400 * MIB


async def test_a_flood_of_haves_costs_no_memory_and_starves_nobody(cluster: DevCluster, blob: Blob) -> None:
    before = memory(cluster)
    told = wire.encode(wire.Have(1)) + wire.encode(wire.Extended(1, wire.encode_have_batch(9, [0, 1, 2])))
    async with connected(cluster) as (_, flooder):
        flooder.write(greeting(blob.metainfo.swarm, peer_id(os.urandom(12))))
        flood = asyncio.create_task(send_for_ever(flooder, told * 1000))
        async with connected(cluster) as honest:
            await greeted(blob.metainfo.swarm, honest)
            for piece in range(PIECES - 1):
                assert await a_piece(honest, piece) == blob.data[piece * PIECE : (piece + 1) * PIECE]
        assert memory(cluster) - before < 64 * MIB
        flood.cancel()
        flooder.transport.abort()  # what it has not sent yet is not to keep it connected

    await still_serves(cluster, blob)


async def test_every_request_that_was_read_is_answered_by_piece_or_reject(cluster: DevCluster, blob: Blob) -> None:
    requests = 300
    async with connected(cluster) as streams:
        await greeted(blob.metainfo.swarm, streams)
        before = cluster.metric("agent-1", "kraken_p2p_requests_rejected_total")
        streams[1].transport.pause_reading()  # type: ignore[attr-defined] # a stream's transport is a socket's
        streams[1].write(span(Kind.REQUEST, 0, 0, PIECE) * requests)
        await until(
            lambda: cluster.metric("agent-1", "kraken_p2p_requests_rejected_total") > before, "some are turned down"
        )
        streams[1].transport.resume_reading()  # type: ignore[attr-defined] # likewise
        pieces = rejects = 0
        async with asyncio.timeout(30):
            while pieces + rejects < requests:
                message = await received(streams[0])
                if isinstance(message, wire.PieceHeader):
                    pieces += 1
                elif isinstance(message, wire.Span) and message.kind is Kind.REJECT:
                    rejects += 1

    assert pieces >= 1
    assert rejects >= 1
    await still_serves(cluster, blob)


async def test_a_peer_that_takes_no_data_loses_its_connection(cluster: DevCluster, blob: Blob) -> None:
    _reader, writer = await asyncio.open_connection(*agent_peer(cluster), limit=1024)
    writer.write(greeting(blob.metainfo.swarm, peer_id(os.urandom(12))))
    writer.transport.pause_reading()  # type: ignore[attr-defined] # a stream's transport is a socket's
    for piece in range(PIECES - 1):
        writer.write(span(Kind.REQUEST, piece, 0, PIECE) * 40)
    await until(lambda: peers(cluster) >= 1, "it is connected")
    await until(lambda: peers(cluster) == 0, "the agent has closed it", CLOSED_SECONDS)
    writer.close()

    await still_serves(cluster, blob)


# How they speak, and what is seen of the agent.


def agent_peer(cluster: DevCluster) -> tuple[str, int]:
    address = cluster["agent-1"].peer
    assert isinstance(address, Address)
    return address.bare_host, address.port


@asynccontextmanager
async def connected(cluster: DevCluster) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection(*agent_peer(cluster), limit=4 * MIB)
    try:
        yield reader, writer
    finally:
        writer.close()


async def is_closed(reader: asyncio.StreamReader) -> bytes:
    """Wait until the agent ends the connection. Returns: what it said before."""
    said = b""
    try:
        async with asyncio.timeout(CLOSED_SECONDS):
            while part := await reader.read(64 * KIB):
                said += part
    except ConnectionError:
        pass
    return said


async def is_refused(cluster: DevCluster, swarm: SwarmId, me: PeerId) -> bool:
    async with connected(cluster) as (reader, writer):
        writer.write(greeting(swarm, me))
        return await is_closed(reader) == b""


async def greeted(swarm: SwarmId, streams: Streams) -> None:
    """Shake hands as an honest peer does."""
    reader, writer = streams
    writer.write(greeting(swarm, peer_id(os.urandom(12))))
    async with asyncio.timeout(30):
        assert Handshake.decode(await reader.readexactly(HANDSHAKE_BYTES)).swarm == swarm


async def a_piece(streams: Streams, piece: int) -> bytes:
    """Ask for a piece like an honest peer: when it is turned down, ask again."""
    reader, writer = streams
    async with asyncio.timeout(60):
        writer.write(span(Kind.REQUEST, piece, 0, PIECE))
        while True:
            (length,) = wire.PREFIX.unpack(await reader.readexactly(wire.PREFIX.size))
            data = await reader.readexactly(length)
            if data[:1] == bytes([Kind.PIECE]):
                assert struct.unpack_from(">II", data, 1) == (piece, 0)
                return data[wire.PIECE_HEADER_BYTES :]
            if data[:1] == bytes([Kind.REJECT]):
                writer.write(span(Kind.REQUEST, piece, 0, PIECE))


async def send_for_ever(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Until the other side ends the connection."""
    try:
        while True:
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass


async def still_serves(cluster: DevCluster, blob: Blob) -> None:
    assert await pull(cluster.agent, blob.digest) == right(blob.digest, len(blob.data))
    assert await pull(cluster["agent-2"].http, blob.digest) == right(blob.digest, len(blob.data))
    assert cluster.crashes() == 0
    assert cluster.events("task_crashed") == []
    assert cluster.events("request_failed") == []


def bans(cluster: DevCluster) -> float:
    return cluster.metric("agent-1", "kraken_p2p_bans_total", reason="corrupt_piece")


def peers(cluster: DevCluster) -> float:
    return cluster.metric("agent-1", "kraken_p2p_peers")


def memory(cluster: DevCluster) -> float:
    return cluster.metric("agent-1", "process_resident_memory_bytes")
