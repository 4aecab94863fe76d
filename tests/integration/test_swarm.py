"""Eight agents, each a process of its own, and what they do for each other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from tests.helpers.dev_cluster import DevCluster, dev_cluster, fetched
from tests.helpers.pulling import pull, push, right, seeded_bytes

from kraken.cli.layout import Counts
from kraken.core.digest import Digest
from kraken.core.pieces import MIB

COUNTS = Counts(origins=3, trackers=2, indexes=1, proxies=1, agents=8)
SIZE = 256 * MIB


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    with dev_cluster(tmp_path_factory.mktemp("swarm"), COUNTS, processes=True) as running:
        yield running


async def test_eight_agents_at_once_cost_the_origins_less_than_two_copies(cluster: DevCluster) -> None:
    data = seeded_bytes(SIZE, seed=8)
    digest = await push(cluster.proxy, data)
    agents = cluster.of("agent")

    pulled = await asyncio.gather(*(pull(agent.http, digest) for agent in agents))

    assert pulled == [right(digest, SIZE)] * 8
    check_the_books(cluster, SIZE)
    files = [cluster.blob_path(agent.name, digest) for agent in agents]
    assert {path.stat().st_size for path in files} == {SIZE}
    finished = cluster.events("pull_finished", component="agent", digest=str(digest))
    assert sorted(line["name"] for line in finished) == sorted(agent.name for agent in agents)
    assert all(line["from_peers"] + line["from_origins"] == line["bytes"] == SIZE for line in finished)


def check_the_books(cluster: DevCluster, size: int) -> None:
    """What was sent was received, by the metrics of everybody."""
    from_origins = cluster.total("origin", "kraken_p2p_bytes_total", direction="out", role="agent")
    from_agents = cluster.total("agent", "kraken_p2p_bytes_total", direction="out", role="agent")
    received_of_origins = cluster.total("agent", "kraken_p2p_bytes_total", direction="in", role="origin")
    received_of_agents = cluster.total("agent", "kraken_p2p_bytes_total", direction="in", role="agent")
    assert size <= from_origins < 2 * size, f"the origins uploaded {from_origins / size:.2f} copies"
    assert received_of_origins <= from_origins
    assert received_of_agents <= from_agents
    assert 8 * size <= received_of_origins + received_of_agents < 8.5 * size
    for agent in cluster.of("agent"):
        assert cluster.metric(agent.name, "kraken_pull_bytes_total") == size
        assert cluster.metric(agent.name, "kraken_pull_bytes_total", source="cache") == 0
        assert cluster.metric(agent.name, "kraken_store_bytes") == size
        assert cluster.metric(agent.name, "kraken_p2p_pieces_total", result="verified") == size / (256 * 1024)
        assert cluster.metric(agent.name, "kraken_p2p_pieces_total", result="corrupt") == 0
    assert cluster.total("origin", "kraken_backend_reads_total") == 0
    assert cluster.total("agent", "kraken_p2p_bans_total") == 0
    assert cluster.crashes() == 0


async def test_a_blob_that_is_cached_is_served_without_any_traffic(cluster: DevCluster) -> None:
    data = seeded_bytes(3 * MIB, seed=9)
    digest = await push(cluster.proxy, data)
    await pull(cluster.agent, digest)
    before = cluster.metric("agent-1", "kraken_p2p_bytes_total", direction="in")
    cached = cluster.metric("agent-1", "kraken_pull_bytes_total", source="cache")

    assert await pull(cluster.agent, digest) == right(digest, len(data))
    assert cluster.metric("agent-1", "kraken_p2p_bytes_total", direction="in") == before
    assert cluster.metric("agent-1", "kraken_pull_bytes_total", source="cache") == cached + len(data)


async def test_a_blob_that_nobody_has_is_unknown_everywhere(cluster: DevCluster) -> None:
    digest = Digest.of(b"never pushed")
    for registry in (cluster.proxy, cluster.agent):
        assert (await pull(registry, digest)).status == 404


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 262144, 262145])
async def test_blobs_of_every_size_come_whole(cluster: DevCluster, size: int) -> None:
    data = seeded_bytes(size, seed=size)
    digest = await push(cluster.proxy, data)

    for registry in (cluster.proxy, cluster.agent, cluster["agent-8"].http):
        assert await pull(registry, digest) == right(digest, size)


def test_every_component_tells_health_readiness_and_metrics(cluster: DevCluster) -> None:
    for member in cluster.members.values():
        assert json.loads(fetched(member.http, "/healthz")) == {"status": "alive"}
        assert json.loads(fetched(member.http, "/readyz")) == {"ready": True}
        assert cluster.metric(member.name, "kraken_build_info", component=member.component, name=member.name) == 1
