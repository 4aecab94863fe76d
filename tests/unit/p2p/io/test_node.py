"""Nodes on loopback: what one holds comes to the other, and strangers do no harm."""

from __future__ import annotations

import asyncio
import os
import struct

import pytest
from tests.helpers.blobs import a_blob
from tests.helpers.peer_sites import Scripted, sites, until

from kraken.core.peers import PeerId, Role
from kraken.core.pieces import MIB
from kraken.p2p import wire
from kraken.p2p.events import PeersOffered
from kraken.p2p.handshake import HANDSHAKE_BYTES, Handshake
from kraken.p2p.settings import PeerSettings, SwarmSettings


async def test_a_blob_comes_from_an_origin_byte_for_byte() -> None:
    blob = a_blob(pieces=9, tail=77)
    async with sites(Role.ORIGIN, Role.AGENT) as (origin, agent):
        await origin.put(blob)

        runner = await agent.fetch(blob, origin.candidate)

        await until(lambda: runner.engine.complete)
        assert await runner.blob.read(0, blob.metainfo.size) == blob.data
        assert agent.metrics.value("kraken_p2p_bytes_total", direction="in", role="origin") == blob.metainfo.size
        assert origin.metrics.value("kraken_p2p_bytes_total", direction="out", role="agent") == blob.metainfo.size


async def test_agents_that_hold_halves_complete_each_other() -> None:
    blob = a_blob(pieces=20)
    async with sites(Role.AGENT, Role.AGENT) as (anna, bert):
        await anna.put(blob, only=set(range(10)))
        await bert.put(blob, only=set(range(10, 20)))
        of_bert = await bert.fetch(blob)

        of_anna = await anna.fetch(blob, bert.candidate)

        await until(lambda: of_anna.engine.complete and of_bert.engine.complete)
        assert await of_bert.blob.read(0, blob.metainfo.size) == blob.data


async def test_a_node_that_does_not_hold_the_blob_or_is_full_refuses_and_the_next_is_dialled() -> None:
    blob = a_blob(pieces=3)
    async with sites(Role.AGENT, Role.ORIGIN, Role.AGENT) as (stranger, origin, agent):
        await origin.put(blob)

        runner = await agent.fetch(blob, stranger.candidate, origin.candidate)

        await until(lambda: runner.engine.complete)


async def test_a_piece_that_changed_on_the_senders_disk_is_not_sent() -> None:
    blob = a_blob(pieces=3)
    async with sites(Role.AGENT, Role.AGENT, Role.AGENT) as (bad, good, agent):
        await bad.put(blob)
        await good.put(blob)
        with await bad.store.open(blob.digest) as held:
            os.pwrite(held.fd, b"rot", 300_000)
            os.utime(held.fd)

        runner = await agent.fetch(blob, bad.candidate, good.candidate)

        await until(lambda: runner.engine.complete)
        assert await runner.blob.read(0, blob.metainfo.size) == blob.data
        assert agent.metrics.value("kraken_p2p_bans_total", reason="corrupt_piece") == 0


async def test_a_liar_is_banned_and_the_truth_comes_from_elsewhere() -> None:
    blob = a_blob(pieces=1, tail=1000)
    async with sites(Role.ORIGIN, Role.AGENT) as (origin, agent):
        await origin.put(blob)
        runner = await agent.fetch(blob)
        liar = await Scripted.dial(agent, blob.metainfo.swarm)
        liar.say(wire.Flag(wire.Kind.HAVE_ALL))
        request = await liar.hear(wire.Span)
        assert isinstance(request, wire.Span)

        liar.say(wire.PieceHeader(request.piece, request.begin, request.length))
        liar.writer.write(b"\0" * request.length)

        assert await liar.is_closed()
        assert agent.metrics.value("kraken_p2p_bans_total", reason="corrupt_piece") == 1
        assert runner.engine.held == 0
        again = asyncio.create_task(Scripted.dial(agent, blob.metainfo.swarm))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await again
        runner.feed(PeersOffered((origin.candidate,)))
        await until(lambda: runner.engine.complete)
        liar.close()


async def test_stock_clients_are_served_small_blocks_and_unchoked() -> None:
    blob = a_blob(pieces=2)
    async with sites(Role.ORIGIN) as (origin,):
        await origin.put(blob)
        address = origin.node.address
        stock = Scripted(*await asyncio.open_connection(address.host, address.port))
        stock.writer.write(Handshake(blob.metainfo.swarm, PeerId(b"-ST0001-" + b"0" * 12), extended=False).encode())
        Handshake.decode(await stock.reader.readexactly(HANDSHAKE_BYTES))
        stock.say(wire.Flag(wire.Kind.HAVE_NONE), wire.Flag(wire.Kind.INTERESTED))

        await stock.hear(wire.Flag)
        stock.say(wire.Span(wire.Kind.REQUEST, 0, 16384, 16384))
        (length,) = struct.unpack(">I", await _after_flags(stock))
        frame = await stock.reader.readexactly(length)

        assert frame[9:] == blob.data[16384:32768]
        stock.close()


async def test_an_origin_tells_each_agent_to_fetch_other_pieces() -> None:
    blob = a_blob(pieces=40)
    async with sites(Role.ORIGIN) as (origin,):
        await origin.put(blob)
        agents = [await Scripted.dial(origin, blob.metainfo.swarm, bytes([number]) * 20) for number in (1, 2)]
        for agent in agents:
            agent.say(wire.Flag(wire.Kind.HAVE_NONE))
        told = [{(await agent.hear(wire.Hint)).piece for _ in range(8)} for agent in agents]

        assert told[0] == {*range(8)} or told[1] == {*range(8)}
        assert told[0].isdisjoint(told[1])
        for agent in agents:
            agent.close()


async def _after_flags(peer: Scripted) -> bytes:
    """The length prefix of the first frame that is not a one-byte message."""
    while True:
        prefix = await peer.reader.readexactly(4)
        if struct.unpack(">I", prefix)[0] > 1:
            return prefix
        await peer.reader.readexactly(struct.unpack(">I", prefix)[0])


HOSTILE: dict[str, bytes] = {
    "a frame of 4 GiB": struct.pack(">IB", 2**32 - 1, wire.Kind.BITFIELD),
    "a piece longer than any": struct.pack(">IBII", 9 + 2**24, wire.Kind.PIECE, 0, 0),
    "a piece that was not asked for": wire.encode(wire.PieceHeader(0, 0, 5)) + b"hello",
    "a piece index beyond the blob": wire.encode(wire.Have(3)),
    "a request beyond the piece": wire.encode(wire.Span(wire.Kind.REQUEST, 2, 0, 10**6)),
    "a request of nothing": wire.encode(wire.Span(wire.Kind.REQUEST, 0, 0, 0)),
    "a request beyond the blob": wire.encode(wire.Span(wire.Kind.REQUEST, 99, 0, 10)),
    "a suggestion beyond the blob": wire.encode(wire.Hint(wire.Kind.SUGGEST, 3)),
    "an unknown message": struct.pack(">IB", 1, 99),
    "a bitfield of the wrong length": wire.encode(wire.Bitfield(b"\xff\xff")),
    "spare bits": wire.encode(wire.Bitfield(b"\xff")),
    "a reject of nothing asked": wire.encode(wire.Span(wire.Kind.REJECT, 0, 0, 10)),
    "a torn have batch": wire.encode(wire.Extended(1, b"\x00")),
    "a have batch beyond the blob": wire.encode(wire.Extended(1, wire.encode_have_batch(0, [4_000_000_000]))),
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_a_peer_that_breaks_the_rules_is_closed_and_others_are_served(what: str) -> None:
    blob = a_blob(pieces=3)
    async with sites(Role.ORIGIN, Role.AGENT) as (origin, agent):
        await origin.put(blob)
        hostile = await Scripted.dial(origin, blob.metainfo.swarm)

        hostile.writer.write(HOSTILE[what])

        assert await hostile.is_closed()
        runner = await agent.fetch(blob, origin.candidate)
        await until(lambda: runner.engine.complete)
        assert origin.metrics.value("kraken_task_crashes_total", task="serve_piece") == 0
        hostile.close()


async def test_a_flood_of_requests_is_turned_down() -> None:
    blob = a_blob(pieces=3)
    async with sites(Role.ORIGIN) as (origin,):
        await origin.put(blob)
        flood = await Scripted.dial(origin, blob.metainfo.swarm)
        flood.say(*[wire.Span(wire.Kind.REQUEST, 0, 0, 256 * 1024)] * 400)

        sent = 256 * 1024
        await until(lambda: origin.metrics.value("kraken_p2p_requests_rejected_total") > 0)
        assert origin.metrics.value("kraken_p2p_bytes_total", direction="out", role="agent") < 100 * sent
        flood.close()


@pytest.mark.parametrize("opening", [b"", b"\x13BitTorrent", b"GET / HTTP/1.1\r\n\r\n" + b" " * 60, b"\x16\x03\x01"])
async def test_who_does_not_shake_hands_is_closed_in_time(opening: bytes) -> None:
    async with sites(Role.ORIGIN, settings=PeerSettings(handshake_seconds=0.2)) as (origin,):
        address = origin.node.address
        silent = Scripted(*await asyncio.open_connection(address.host, address.port))
        silent.writer.write(opening)

        assert await silent.is_closed()
        silent.close()


async def test_connections_beyond_the_cap_are_refused_at_the_door() -> None:
    async with sites(Role.ORIGIN, settings=PeerSettings(max_connections=1)) as (origin,):
        address = origin.node.address
        silent = [Scripted(*await asyncio.open_connection(address.host, address.port)) for _ in range(2)]
        await until(lambda: len(origin.node.tasks) == 4)  # the sweep, the certificate watch, and two handshakes

        third = Scripted(*await asyncio.open_connection(address.host, address.port))

        assert await third.is_closed()
        assert len(origin.node.tasks) == 4
        for each in (*silent, third):
            each.close()


async def test_memory_for_pieces_is_bounded_and_reading_goes_on_when_there_is_some() -> None:
    blob = a_blob(pieces=160, tail=5)
    tight = PeerSettings(buffer_bytes=16 * MIB)
    async with sites(Role.ORIGIN, Role.ORIGIN, Role.AGENT, settings=tight) as (one, two, agent):
        agent.node.buffers._max_bytes = 2 * 256 * 1024
        await one.put(blob)
        await two.put(blob)

        runner = await agent.fetch(blob, one.candidate, two.candidate)

        await until(lambda: runner.engine.complete)
        assert agent.node.buffers.used_bytes == 0
        assert await runner.blob.read(0, blob.metainfo.size) == blob.data


async def test_a_swarm_that_nobody_uses_is_closed_after_a_while() -> None:
    blob = a_blob(pieces=1)
    async with sites(Role.ORIGIN, swarm=SwarmSettings(linger_seconds=0)) as (origin,):
        await origin.put(blob)
        peer = await Scripted.dial(origin, blob.metainfo.swarm)
        assert len(origin.node.runners) == 1

        peer.close()

        await until(lambda: not origin.node.runners)


async def test_two_peers_that_dial_each_other_at_once_keep_one_connection() -> None:
    blob = a_blob(pieces=30)
    async with sites(Role.AGENT, Role.AGENT) as (anna, bert):
        await anna.put(blob, only={0})
        await bert.put(blob, only={1})
        of_anna, of_bert = await anna.fetch(blob), await bert.fetch(blob)

        of_anna.feed(PeersOffered((bert.candidate,)))
        of_bert.feed(PeersOffered((anna.candidate,)))

        await until(lambda: of_anna.engine.held == of_bert.engine.held == 0b11)
        await until(lambda: len(of_anna.peers) == len(of_bert.peers) == 1)
