"""How an agent downloads, piece by piece: the only peer that has the blob sends what the test lets through."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count

import aiohttp
import pytest
from tests.helpers.blobs import Blob, a_blob
from tests.helpers.dev_cluster import DevCluster, dev_cluster
from tests.helpers.pulling import blob_path, client, pull, push, right
from tests.helpers.scripted_peer import GatedSeeder, announced
from tests.helpers.tools import until

from kraken.cli.layout import Counts
from kraken.core.digest import Digest
from kraken.core.pieces import KIB, ByteRange

COUNTS = Counts(origins=1, trackers=1, indexes=1, proxies=1, agents=1)
NO_ORIGINS = {"tracker": {"announce": {"origins": 0}}, "agent": {"log": {"level": "debug"}}}
"""Trackers name no origin, so an agent meets no other peers than those of the test."""

PIECE = 256 * KIB
_seeds = count(1000)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    with dev_cluster(tmp_path_factory.mktemp("downloads"), COUNTS, settings=NO_ORIGINS) as running:
        yield running


async def a_pushed_blob(cluster: DevCluster, pieces: int) -> Blob:
    blob = a_blob(pieces, tail=1000, seed=next(_seeds))
    await push(cluster.proxy, blob.data)
    return blob


def quarters(blob: Blob) -> list[ByteRange]:
    """A blob in four parts of about the same size, as clients cut it: at no border of a piece."""
    step = len(blob.data) // 4
    return [ByteRange(at * step, (at + 1) * step if at < 3 else len(blob.data)) for at in range(4)]


async def get_range(session: aiohttp.ClientSession, blob: Blob, span: ByteRange) -> bytes:
    """One range of a blob, over a connection of its own."""
    wanted = {"Range": f"bytes={span.start}-{span.stop - 1}"}
    async with session.get(blob_path(blob.digest), headers=wanted) as answer:
        assert answer.status == 206
        return await answer.read()


def received(cluster: DevCluster) -> float:
    return cluster.metric("agent-1", "kraken_p2p_bytes_total", direction="in")


def failed_pulls(cluster: DevCluster) -> float:
    return cluster.metric("agent-1", "kraken_pulls_total", result="failed")


def verified(cluster: DevCluster) -> float:
    return cluster.metric("agent-1", "kraken_p2p_pieces_total", result="verified")


async def test_pulls_of_one_blob_at_the_same_time_share_one_download(cluster: DevCluster) -> None:
    blob = await a_pushed_blob(cluster, 12)
    seeder = GatedSeeder(blob)
    before = received(cluster)

    async with announced(seeder, cluster["tracker-1"].http):
        pulls = [asyncio.create_task(pull(cluster.agent, blob.digest)) for _ in range(10)]
        await seeder.wait_for(lambda: len(seeder.requested) == 1)
        await seeder.let()
        pulled = await asyncio.gather(*pulls)

    assert pulled == [right(blob.digest, len(blob.data))] * 10
    assert sorted(seeder.sent) == list(range(12))
    assert received(cluster) - before == len(blob.data)


async def test_bytes_stream_to_the_client_while_the_rest_is_missing(cluster: DevCluster) -> None:
    blob = await a_pushed_blob(cluster, 12)
    seeder = GatedSeeder(blob)

    async with announced(seeder, cluster["tracker-1"].http), client(cluster.agent) as session:
        await seeder.let(3)
        async with session.get(blob_path(blob.digest)) as answer:
            first = await answer.content.readexactly(3 * PIECE)
            assert first == blob.data[: 3 * PIECE]
            assert sorted(seeder.sent) == [0, 1, 2]
            await seeder.let()
            rest = await answer.content.read()

    assert first + rest == blob.data


async def test_a_range_of_a_cold_blob_is_answered_before_the_whole_is_there(cluster: DevCluster) -> None:
    blob = await a_pushed_blob(cluster, 20)
    seeder = GatedSeeder(blob)
    span = ByteRange(12 * PIECE + 100, 14 * PIECE - 100)

    async with announced(seeder, cluster["tracker-1"].http), client(cluster.agent) as session:
        await seeder.let(which=lambda piece: piece in (12, 13))
        wanted = {"Range": f"bytes={span.start}-{span.stop - 1}"}
        async with session.get(blob_path(blob.digest), headers=wanted) as answer:
            assert answer.status == 206
            assert answer.headers["Content-Range"] == f"bytes {span.start}-{span.stop - 1}/{len(blob.data)}"
            assert await answer.read() == blob.data[span.start : span.stop]

    assert set(seeder.requested[:2]) == {12, 13}
    assert set(seeder.sent) == {12, 13}


async def test_four_ranges_at_once_are_right_and_the_blob_is_fetched_once(cluster: DevCluster) -> None:
    blob = await a_pushed_blob(cluster, 22)
    seeder = GatedSeeder(blob)
    before = received(cluster)

    async with announced(seeder, cluster["tracker-1"].http), client(cluster.agent) as session:
        await seeder.let()
        parts = await asyncio.gather(*(get_range(session, blob, span) for span in quarters(blob)))

    assert b"".join(parts) == blob.data
    assert sorted(seeder.sent) == list(range(22))
    assert received(cluster) - before == len(blob.data)


async def test_ranges_in_the_middle_are_served_while_the_front_is_missing(cluster: DevCluster) -> None:
    blob = await a_pushed_blob(cluster, 132)  # so many that a second piece is asked of a peer that owes one
    seeder = GatedSeeder(blob)
    before = received(cluster)

    async with announced(seeder, cluster["tracker-1"].http), client(cluster.agent) as session:
        await seeder.let(which=lambda piece: piece != 0)
        first, second, third, last = (asyncio.create_task(get_range(session, blob, span)) for span in quarters(blob))
        middle = await asyncio.gather(second, third)
        assert 0 not in seeder.sent
        assert not first.done()
        assert not last.done()  # the last piece of a blob waits for the digest of the whole
        await seeder.let()

        assert await first + b"".join(middle) + await last == blob.data
    assert sorted(seeder.sent) == list(range(132))
    assert received(cluster) - before == len(blob.data)


async def test_head_of_a_cold_blob_downloads_nothing(cluster: DevCluster) -> None:
    blob = await a_pushed_blob(cluster, 6)
    seeder = GatedSeeder(blob)
    before = received(cluster)

    async with announced(seeder, cluster["tracker-1"].http), client(cluster.agent) as session:
        await seeder.let()
        for _ in range(3):
            async with session.head(blob_path(blob.digest)) as answer:
                assert answer.status == 200
                assert answer.headers["Content-Length"] == str(len(blob.data))
                assert answer.headers["Docker-Content-Digest"] == str(blob.digest)

        assert seeder.connections == 0
    assert received(cluster) == before
    assert not cluster.partial_path("agent-1", blob.digest).exists()
    assert not cluster.blob_path("agent-1", blob.digest).exists()


async def test_a_client_that_goes_away_early_stops_the_download(cluster: DevCluster) -> None:
    blob = await a_pushed_blob(cluster, 20)
    seeder = GatedSeeder(blob)

    before = verified(cluster)

    async with announced(seeder, cluster["tracker-1"].http):
        await seeder.let(4)
        async with client(cluster.agent) as session, session.get(blob_path(blob.digest)) as answer:
            await answer.content.readexactly(4 * PIECE)
            await seeder.wait_for(lambda: len(seeder.requested) == 5)
            answer.close()
        await until(lambda: cluster.events("download_stopped", digest=str(blob.digest)), "the download has stopped")
        await seeder.let()  # what is under way still comes in, and then nothing more is asked for
        await until(lambda: verified(cluster) == before + 5, "the piece that was under way is there")
        assert (await pull(cluster.agent, Digest.of(b"never pushed"))).status == 404
        assert len(seeder.requested) == 5
        assert not cluster.blob_path("agent-1", blob.digest).exists()

        assert await pull(cluster.agent, blob.digest) == right(blob.digest, len(blob.data))
    assert sorted(seeder.sent) == list(range(20))  # what was there before was kept


async def test_a_download_goes_on_while_another_client_waits(cluster: DevCluster) -> None:
    blob = await a_pushed_blob(cluster, 20)
    seeder = GatedSeeder(blob)

    async with announced(seeder, cluster["tracker-1"].http), client(cluster.agent) as session:
        await seeder.let(2)
        leaving = await session.get(blob_path(blob.digest))
        await leaving.content.readexactly(2 * PIECE)
        staying = await session.get(blob_path(blob.digest))
        first = await staying.content.readexactly(2 * PIECE)
        gone = failed_pulls(cluster)
        leaving.close()
        await until(lambda: failed_pulls(cluster) == gone + 1, "the first client is gone")
        await seeder.let()

        assert first + await staying.content.read() == blob.data
    assert sorted(seeder.sent) == list(range(20))
    assert cluster.events("download_stopped", digest=str(blob.digest)) == []


async def test_a_download_that_is_half_done_is_finished_for_nobody(cluster: DevCluster) -> None:
    blob = await a_pushed_blob(cluster, 8)
    seeder = GatedSeeder(blob)

    async with announced(seeder, cluster["tracker-1"].http):
        await seeder.let(5)
        async with client(cluster.agent) as session, session.get(blob_path(blob.digest)) as answer:
            await answer.content.readexactly(5 * PIECE)
            answer.close()
        await seeder.let()
        await until(cluster.blob_path("agent-1", blob.digest).exists, "the blob is whole")

    assert sorted(seeder.sent) == list(range(8))


async def test_a_download_without_any_peer_fails_and_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = {**NO_ORIGINS, "agent": {"download": {"stall_seconds": 1}}}
    with dev_cluster(tmp_path_factory.mktemp("alone"), COUNTS, settings=settings) as alone:
        blob = await a_pushed_blob(alone, 4)
        async with client(alone.agent) as session, session.get(blob_path(blob.digest)) as answer:
            body = await answer.json()
            assert answer.status == 503
            assert answer.headers["Retry-After"]

    assert [each["code"] for each in body["errors"]] == ["TOOMANYREQUESTS"]
    assert "nothing came for 1 seconds from 0 peers" in body["errors"][0]["message"]
