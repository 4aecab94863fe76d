"""The live view of a node's swarms."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.helpers.blobs import a_blob
from tests.helpers.components import http_session, running, small_cluster
from tests.helpers.peer_sites import sites
from tests.helpers.pushing import push_blob

from kraken.core.digest import Digest
from kraken.core.peers import Role
from kraken.p2p.io.live_view import availability, node_view, swarm_view
from kraken.p2p.priority import Priority

DATA = bytes(range(256)) * 4096 * 3
UNKNOWN = Digest.of(b"nobody reads this")


@pytest.mark.parametrize(
    ("missing", "held", "expected"),
    [
        (0b0000, [], [0]),
        (0b1111, [], [4]),
        (0b1111, [0b0011, 0b0110, 0b0010], [1, 2, 0, 1]),
        (0b1100, [0b0011, 0b0100], [1, 1]),
        (0b0011, [0b0011] * 3, [0, 0, 0, 2]),
        (0b0001, [0b1110], [1]),
    ],
)
def test_availability_counts_who_holds_what_is_missing(missing: int, held: list[int], expected: list[int]) -> None:
    assert availability(missing, held) == expected


async def test_two_agents_and_an_origin_see_each_other(tmp_path: Path) -> None:
    async with small_cluster(tmp_path) as cluster, http_session(cluster.proxy.http) as proxy:
        digest = await push_blob(proxy, "team/app", DATA)
        first, second = cluster.an_agent("one"), cluster.an_agent("two")
        async with running(first, second), http_session(first.http) as one, http_session(second.http) as two:

            async def pull(client: object) -> None:
                async with client.get(f"/v2/team/app/blobs/{digest}") as answer:  # type: ignore[attr-defined]
                    assert await answer.read() == DATA

            await asyncio.gather(pull(one), pull(two))
            async with one.get("/swarms") as answer:
                view = await answer.json()
            assert (view["swarm_count"], view["banned"], view["peer_id"]) == (1, [], first.node.peer_id.hex())
            (line,) = view["swarms"]
            assert (line["digest"], line["held"], line["pieces"]) == (str(digest), line["pieces"], line["pieces"])
            async with one.get(f"/swarms/{digest}") as answer:
                swarm = await answer.json()
            assert swarm["availability"] == [0]
            received = sum(it["received_bytes"] for it in swarm["neighbours"])
            assert {it["role"] for it in swarm["neighbours"]} <= {"agent", "origin"}
            assert received <= len(DATA)
            for path, status in ((f"/swarms/{UNKNOWN}", 404), ("/swarms/x", 400), ("/swarms?limit=x", 400)):
                async with one.get(path) as answer:
                    assert answer.status == status


async def test_the_view_tells_how_urgent_a_swarm_is_and_how_much_it_may_ask_for() -> None:
    urgent, patient = a_blob(pieces=200, seed=1), a_blob(pieces=200, seed=2)
    async with sites(Role.AGENT) as (agent,):
        await agent.fetch(urgent)
        runner = await agent.fetch(patient)
        runner.prioritize(Priority.BACKGROUND)

        lines = node_view(agent.node, limit=2).swarms
        assert [(line.priority, line.allowance) for line in lines] == [("interactive", 128), ("background", 128)]
        view = swarm_view(runner)
        assert (view.priority, view.allowance, view.requested) == ("background", 128, 0)
        runner.demand(-1)
        assert (swarm_view(runner).priority, swarm_view(runner).allowance) == (None, None)
