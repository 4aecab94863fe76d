"""Bytes that change on disks behind our back: no client ever gets them, and the swarm mends the blob."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from tests.helpers.dev_cluster import DevCluster, dev_cluster
from tests.helpers.pulling import blob_path, client, pull, push, right, seeded_bytes
from tests.helpers.tools import spoil, until

from kraken.cli.layout import Counts
from kraken.core.digest import Digest
from kraken.core.pieces import KIB, MIB

COUNTS = Counts(origins=2, trackers=1, indexes=1, proxies=1, agents=2)
SIZE = 10 * MIB + 1
PIECE = 256 * KIB
_seeds = count(4000)

Damage = Callable[[Path], None]


def one_byte(path: Path) -> None:
    spoil(path, at=5 * PIECE + 7)


def one_byte_and_the_old_time(path: Path) -> None:
    """As a bad disk does it: nothing about the file looks different."""
    before = path.stat()
    one_byte(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut_short(path: Path) -> None:
    os.truncate(path, SIZE - 3 * PIECE)


def every_piece(path: Path) -> None:
    for at in range(0, SIZE, PIECE):
        spoil(path, at)


def gone(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    os.truncate(path, 0)


WHILE_IT_RUNS: list[Damage] = [one_byte, cut_short, every_piece, emptied]
WHILE_IT_IS_STOPPED: list[Damage] = [*WHILE_IT_RUNS, gone, one_byte_and_the_old_time]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    with dev_cluster(tmp_path_factory.mktemp("corrupt"), COUNTS, processes=True) as running:
        yield running


async def a_cached_blob(cluster: DevCluster, size: int = SIZE) -> tuple[bytes, Digest]:
    """A blob that agent-1 has whole, and has served."""
    data = seeded_bytes(size, next(_seeds))
    digest = await push(cluster.proxy, data)
    assert await pull(cluster.agent, digest) == right(digest, size)
    return data, digest


@pytest.mark.parametrize("damage", WHILE_IT_RUNS)
async def test_damage_while_the_agent_runs_reaches_no_client_and_is_mended(cluster: DevCluster, damage: Damage) -> None:
    data, digest = await a_cached_blob(cluster)

    damage(cluster.blob_path("agent-1", digest))

    assert await pull(cluster.agent, digest) == right(digest, SIZE)
    await is_mended(cluster, "agent-1", data, digest)


@pytest.mark.parametrize("damage", WHILE_IT_IS_STOPPED)
async def test_damage_while_the_agent_is_stopped_reaches_no_client_and_is_mended(
    cluster: DevCluster, damage: Damage
) -> None:
    data, digest = await a_cached_blob(cluster)

    with stopped(cluster, "agent-1"):
        damage(cluster.blob_path("agent-1", digest))

    assert await pull(cluster.agent, digest) == right(digest, SIZE)
    await is_mended(cluster, "agent-1", data, digest)


async def test_a_file_that_somebody_removes_from_a_running_agent_is_no_harm(cluster: DevCluster) -> None:
    _, digest = await a_cached_blob(cluster)

    gone(cluster.blob_path("agent-1", digest))

    for agent in cluster.of("agent"):
        assert await pull(agent.http, digest) == right(digest, SIZE)


async def test_only_the_bad_piece_is_fetched_again(cluster: DevCluster) -> None:
    data, digest = await a_cached_blob(cluster)
    before = cluster.metric("agent-1", "kraken_p2p_bytes_total", direction="in")

    one_byte(cluster.blob_path("agent-1", digest))

    assert await pull(cluster.agent, digest) == right(digest, SIZE)
    await is_mended(cluster, "agent-1", data, digest)
    assert cluster.metric("agent-1", "kraken_p2p_bytes_total", direction="in") - before == PIECE
    assert len(cluster.events("blob_corrupt", name="agent-1", digest=str(digest))) == 1


async def test_a_range_beside_the_bad_piece_and_one_within_it_are_right(cluster: DevCluster) -> None:
    data, digest = await a_cached_blob(cluster)
    one_byte(cluster.blob_path("agent-1", digest))

    async with client(cluster.agent) as session:
        for start, stop in ((0, 1000), (5 * PIECE, 6 * PIECE), (5 * PIECE + 7, 5 * PIECE + 8), (SIZE - 10, SIZE)):
            wanted = {"Range": f"bytes={start}-{stop - 1}"}
            async with session.get(blob_path(digest), headers=wanted) as answer:
                assert (answer.status, await answer.read()) == (206, data[start:stop])


async def test_metainfo_that_is_damaged_or_lost_is_made_again(cluster: DevCluster) -> None:
    data, digest = await a_cached_blob(cluster)

    with stopped(cluster, "agent-1"):
        for path in (cluster["agent-1"].data / "metainfo").rglob("*"):
            if path.is_file():
                path.write_bytes(b"not metainfo")

    assert await pull(cluster.agent, digest) == right(digest, SIZE)
    await is_mended(cluster, "agent-1", data, digest)


async def test_an_agent_does_not_pass_damage_on_to_other_agents(cluster: DevCluster) -> None:
    _, digest = await a_cached_blob(cluster)
    every_piece(cluster.blob_path("agent-1", digest))

    assert await pull(cluster["agent-2"].http, digest) == right(digest, SIZE)
    assert cluster.metric("agent-2", "kraken_p2p_pieces_total", result="corrupt") == 0
    assert cluster.total("agent", "kraken_p2p_bans_total") == 0
    assert await pull(cluster.agent, digest) == right(digest, SIZE)


async def test_damage_at_one_origin_reaches_neither_clients_of_the_proxy_nor_agents(cluster: DevCluster) -> None:
    for size in (SIZE, 1000):  # the small one travels inside its metainfo
        data = seeded_bytes(size, next(_seeds))
        digest = await push(cluster.proxy, data)
        await until(
            lambda digest=digest: all(cluster.blob_path(o.name, digest).exists() for o in cluster.of("origin")),  # type: ignore[misc]
            "both origins have it",
        )
        spoil(cluster.blob_path("origin-1", digest), at=size // 2)

        assert await pull(cluster.proxy, digest) == right(digest, size)
        assert await pull(cluster.agent, digest) == right(digest, size)
        assert await pull(cluster["agent-2"].http, digest) == right(digest, size)
    assert cluster.crashes() == 0


async def is_mended(cluster: DevCluster, name: str, data: bytes, digest: Digest) -> None:
    path = cluster.blob_path(name, digest)
    await until(lambda: path.exists() and path.read_bytes() == data, "the blob is whole again")
    assert not cluster.partial_path(name, digest).exists()
    assert await pull(cluster[name].http, digest) == right(digest, len(data))
    assert cluster.crashes() == 0
    assert cluster.events("request_failed") == []


@contextmanager
def stopped(cluster: DevCluster, name: str) -> Iterator[None]:
    """The component does not run within the block."""
    cluster.stop(name)
    try:
        yield
    finally:
        cluster.start_again(name)
