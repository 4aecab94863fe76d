"""One node with many swarms: who is served first, and how much of the host each of them gets."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.helpers.blobs import Blob, a_blob
from tests.helpers.peer_sites import Scripted, Site, sites, until

from kraken.core.peers import Role
from kraken.core.pieces import BLOCK_LENGTH, KIB, MIB
from kraken.p2p import wire
from kraken.p2p.priority import Priority
from kraken.p2p.settings import PeerSettings
from kraken.runtime.bandwidth import BandwidthSettings

FEW_SLOTS = PeerSettings(upload_slots=4)
SLOW_LINK = BandwidthSettings(send_bytes_per_second=16 * MIB)


def sent(site: Site, blob: Blob) -> int:
    """Bytes of a blob that were given to peers which are still connected, or are being given."""
    runner = site.node.runners.get(blob.metainfo.swarm)
    return sum(peer.sent_bytes for peer in runner.peers.values()) if runner is not None else 0


def waiting(site: Site) -> float:
    return site.metrics.value("kraken_p2p_uploads", state="waiting")


async def test_a_small_blob_does_not_wait_for_the_large_ones_that_all_others_want() -> None:
    one, two = a_blob(pieces=300, seed=1), a_blob(pieces=300, seed=2)
    small = a_blob(pieces=1, tail=1000, seed=3)
    async with sites(Role.ORIGIN, *[Role.AGENT] * 7, settings=FEW_SLOTS) as (origin, *agents):
        for blob in (one, two, small):
            await origin.put(blob)
        origin.traffic.set_limits(BandwidthSettings(send_bytes_per_second=64 * KIB))  # 12 s for three pieces
        for agent, blob in zip(agents[:6], (one, two) * 3, strict=True):
            await agent.fetch(blob, origin.candidate)
        await until(lambda: waiting(origin) > 0)

        runner = await agents[6].fetch(small, origin.candidate)
        await until(lambda: runner.engine.complete)

        assert sent(origin, one) + sent(origin, two) == 3 * BLOCK_LENGTH
        assert waiting(origin) > 0


async def test_two_swarms_share_the_slots_by_bytes_however_many_ask() -> None:
    crowded, lonely = a_blob(pieces=300, seed=1), a_blob(pieces=300, seed=2)
    async with sites(Role.ORIGIN, *[Role.AGENT] * 8, settings=FEW_SLOTS) as (origin, *agents):
        await origin.put(crowded)
        await origin.put(lonely)
        origin.traffic.set_limits(SLOW_LINK)
        for agent in agents[:6]:
            await agent.fetch(crowded, origin.candidate)
        for agent in agents[6:]:
            await agent.fetch(lonely, origin.candidate)

        await until(lambda: sent(origin, lonely) > 0 and waiting(origin) > 0)
        before = sent(origin, crowded), sent(origin, lonely)
        await until(lambda: sent(origin, crowded) - before[0] >= 60 * BLOCK_LENGTH)

        ratio = (sent(origin, lonely) - before[1]) / (sent(origin, crowded) - before[0])
        assert 0.75 < ratio < 1.25


async def test_slots_come_back_whatever_ends_a_connection() -> None:
    blob = a_blob(pieces=300)
    async with sites(Role.ORIGIN, *[Role.AGENT] * 6, settings=FEW_SLOTS) as (origin, *agents):
        await origin.put(blob)
        origin.traffic.set_limits(SLOW_LINK)
        runners = [await agent.fetch(blob, origin.candidate) for agent in agents]
        await until(lambda: waiting(origin) > 0)

        for runner in runners:
            runner.close()

        await until(lambda: waiting(origin) == 0)
        assert origin.metrics.value("kraken_p2p_uploads", state="sent") == 0


async def test_swarms_that_fetch_at_once_share_what_may_be_asked_for_and_one_alone_asks_for_all_it_can() -> None:
    blobs = [a_blob(pieces=300, seed=seed) for seed in range(2)]
    async with sites(Role.AGENT, *[Role.ORIGIN] * 4, settings=PeerSettings(buffer_bytes=16 * MIB)) as (agent, *origins):
        agent.node.shares._limits = replace(agent.node.shares._limits, max_bytes=3 * MIB)
        for origin in origins:
            for blob in blobs:
                await origin.put(blob)
            origin.traffic.set_limits(BandwidthSettings(send_bytes_per_second=64 * KIB))
        candidates = [origin.candidate for origin in origins]

        first = await agent.fetch(blobs[0], *candidates)
        await until(lambda: first.engine.requested == 8)
        second = await agent.fetch(blobs[1], *candidates)
        await until(lambda: second.engine.requested == 6)
        assert (first.engine.allowance, second.engine.allowance) == (6, 6)

        second.prioritize(Priority.BACKGROUND)
        assert (first.engine.allowance, second.engine.allowance) == (8, 4)
        second.demand(-1)
        assert (first.engine.allowance, second.engine.allowance) == (None, None)


def displaced(site: Site) -> float:
    return site.metrics.value("kraken_p2p_connections_displaced_total")


async def silent_peers(site: Site, blob: Blob, names: str) -> list[Scripted]:
    """Connections of peers that hold nothing and ask for nothing, one after the other."""
    peers = []
    for name in names:
        runner = site.node.runners.get(blob.metainfo.swarm)
        before = len(runner.peers) if runner is not None else 0
        peers.append(await Scripted.dial(site, blob.metainfo.swarm, name.encode() * 20))
        peers[-1].say(wire.Flag(wire.Kind.HAVE_NONE))
        await until(lambda: connections(site, blob) == before + 1)  # noqa: B023 - it ends before the next round
    return peers


def connections(site: Site, blob: Blob) -> int:
    runner = site.node.runners.get(blob.metainfo.swarm)
    return len(runner.peers) if runner is not None else 0


async def test_a_swarm_with_few_connections_gets_one_of_the_swarm_with_most_until_they_are_even() -> None:
    many, few = a_blob(pieces=3, seed=1), a_blob(pieces=3, seed=2)
    async with sites(Role.ORIGIN, settings=PeerSettings(max_connections=3)) as (origin,):
        await origin.put(many)
        await origin.put(few)
        first, *others = await silent_peers(origin, many, "abc")

        others += await silent_peers(origin, few, "x")

        assert await first.is_closed()
        assert (connections(origin, many), connections(origin, few), displaced(origin)) == (2, 1, 1)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await Scripted.dial(origin, few.metainfo.swarm, b"y" * 20)
        assert (connections(origin, many), connections(origin, few), displaced(origin)) == (2, 1, 1)
        assert len(others) == 3, "who is forgotten here is closed"


async def test_a_connection_with_a_piece_under_way_is_never_closed_for_another() -> None:
    many, few = a_blob(pieces=3, seed=1), a_blob(pieces=3, seed=2)
    async with sites(Role.ORIGIN, settings=PeerSettings(max_connections=2)) as (origin,):
        await origin.put(many)
        await origin.put(few)
        origin.traffic.set_limits(BandwidthSettings(send_bytes_per_second=64 * KIB))
        peers = await silent_peers(origin, many, "ab")
        for peer in peers:
            peer.say(wire.Span(wire.Kind.REQUEST, 0, 0, BLOCK_LENGTH))
        await until(lambda: sent(origin, many) == 2 * BLOCK_LENGTH)

        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await Scripted.dial(origin, few.metainfo.swarm)

        assert (connections(origin, many), displaced(origin)) == (2, 0)


async def test_who_fetches_finds_a_place_among_connections_that_only_wait() -> None:
    held, wanted = a_blob(pieces=3, seed=1), a_blob(pieces=3, seed=2)
    async with sites(Role.AGENT, Role.ORIGIN, settings=PeerSettings(max_connections=1)) as (agent, origin):
        await agent.put(held)
        await origin.put(wanted)
        (idle,) = await silent_peers(agent, held, "a")

        runner = await agent.fetch(wanted, origin.candidate)

        await until(lambda: runner.engine.complete)
        assert await idle.is_closed()
        assert displaced(agent) == 1


async def test_no_more_blobs_than_allowed_are_open_for_peers_alone_and_the_longest_idle_goes() -> None:
    blobs = [a_blob(pieces=1, seed=seed) for seed in range(3)]
    async with sites(Role.ORIGIN, settings=PeerSettings(max_seeded=2)) as (origin,):
        for blob in blobs:
            await origin.put(blob)
        used = await origin.fetch(a_blob(pieces=1, seed=9))
        peers = [*await silent_peers(origin, blobs[0], "a"), *await silent_peers(origin, blobs[1], "b")]
        peers[0].say(wire.Span(wire.Kind.REQUEST, 0, 0, 1000))
        await until(lambda: sent(origin, blobs[0]) == 1000)

        peers += await silent_peers(origin, blobs[2], "c")

        assert await peers[1].is_closed()
        assert list(origin.node.runners) == [used.swarm_id, blobs[0].metainfo.swarm, blobs[2].metainfo.swarm]
