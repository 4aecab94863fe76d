"""An agent as a component: how it starts, what it says of itself, and how it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from tests.helpers.components import QUICK_PROBES, ROOMY, SmallCluster, http_session, running, small_cluster
from tests.helpers.ports import free_address
from tests.helpers.pushing import push_image
from tests.helpers.registry import an_image

from kraken.agent.app import Agent
from kraken.agent.settings import AgentSettings
from kraken.core.digest import Digest
from kraken.core.errors import BadConfig
from kraken.runtime.web import HttpSettings

IMAGE = an_image(bytes(range(256)) * 3000)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def alone(data: Path) -> Agent:
    """An agent whose cluster does not answer."""
    cluster = replace(QUICK_PROBES, trackers=(free_address(),), indexes=(free_address(),))
    return Agent(
        AgentSettings(name="alone", data=data, http=HttpSettings(listen=free_address()), cluster=cluster, cache=ROOMY)
    )


async def pull(session: aiohttp.ClientSession) -> bytes:
    """The manifest by its tag, and every blob; returns the layer."""
    async with session.get("/v2/app/manifests/v1") as answer:
        assert await answer.read() == IMAGE.manifest
    for blob in IMAGE.blobs:
        async with session.get(f"/v2/app/blobs/{Digest.of(blob)}") as answer:
            assert answer.status == 200
            data = await answer.read()
    return data


def peers_announced(cluster: SmallCluster) -> float:
    """Entries in all swarms of the tracker."""
    return cluster.tracker.metrics.value("kraken_tracker_peers")


async def test_an_agent_alone_lives_and_says_why_it_is_not_ready(tmp_path: Path) -> None:
    agent = alone(tmp_path)
    async with running(agent), http_session(agent.http) as session:
        async with session.get("/healthz") as answer:
            assert answer.status == 200
        async with session.get("/readyz") as answer:
            assert answer.status == 503
            assert (await answer.json())["reasons"] == ["no tracker answers", "no index node answers"]
        async with session.get("/node") as answer:
            card = await answer.json()
    assert (card["kind"], card["name"], card["peer"]) == ("agent", "alone", str(agent.peer))
    assert card["peer_id"] == agent.node.peer_id.hex()


async def test_an_agent_pulls_seeds_and_says_goodbye(tmp_path: Path) -> None:
    async with small_cluster(tmp_path, origins=1, indexes=1) as cluster:
        async with http_session(cluster.proxy.http) as proxy:
            await push_image(proxy, "app", IMAGE, "v1")
        agent = cluster.an_agent()
        await cluster.running.start(agent)
        async with http_session(agent.http) as session:
            assert await pull(session) == IMAGE.blobs[-1]
            async with session.get("/readyz") as answer:
                assert answer.status == 200
        await until(lambda: peers_announced(cluster) == 3)  # of the manifest, the config and the layer

        await cluster.running.stop(agent)

        assert peers_announced(cluster) == 0


async def test_what_was_pulled_is_served_after_a_restart_with_nobody_else_alive(tmp_path: Path) -> None:
    async with small_cluster(tmp_path, origins=1, indexes=1) as cluster:
        async with http_session(cluster.proxy.http) as proxy:
            await push_image(proxy, "app", IMAGE, "v1")
        agent = cluster.an_agent()
        await cluster.running.start(agent)
        async with http_session(agent.http) as session:
            await pull(session)
            await until(lambda: all(stored.complete for stored in agent.blobs.stored()))
        settings = agent._settings

    async with running(Agent(settings)), http_session(settings.http.listen) as session:
        assert await pull(session) == IMAGE.blobs[-1]


async def test_a_start_that_fails_says_why_and_leaves_nothing_behind(tmp_path: Path) -> None:
    first = alone(tmp_path)
    async with running(first):
        second = alone(tmp_path)
        with pytest.raises(BadConfig, match="in use by another process"):
            await second.start()
        await second.stop()
    again = alone(tmp_path)
    async with running(again):
        pass
