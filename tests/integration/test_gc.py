"""`kraken gc` and the collectors of a running cluster, as an operator and a pusher meet them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import aiohttp
from tests.helpers.components import SmallCluster, http_session, running, small_cluster
from tests.helpers.pushing import push_blob, push_image
from tests.helpers.registry import an_image

from kraken.core.digest import Digest
from kraken.index.settings import CollectionSettings as AtIndex
from kraken.origin.settings import CollectionSettings as AtOrigin

GRACE = 1.0
AT_INDEX = AtIndex(grace_seconds=GRACE)
AT_ORIGIN = AtOrigin(grace_seconds=GRACE, second_look_seconds=0)
IMAGE = an_image(b"a layer")
LONE = b"a blob that no manifest names"


async def gc(cluster: SmallCluster, data: Path, *flags: str) -> tuple[int, str]:
    """Run `kraken gc` with a component's file. Returns: its exit code, and all that it printed."""
    settings = cluster.settings
    lists = {kind: "[" + ", ".join(map(str, getattr(settings, kind))) + "]" for kind in ("origins", "indexes")}
    file = data / "proxy.yaml"
    file.write_text(f"component: proxy\ncluster:\n  origins: {lists['origins']}\n  indexes: {lists['indexes']}\n")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kraken", "gc", "--config", str(file), *flags),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={name: text for name, text in os.environ.items() if not name.startswith("KRAKEN_")},
    )
    printed, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode()


async def found(session: aiohttp.ClientSession, data: bytes) -> bool:
    async with session.get(f"/v2/team/app/blobs/{Digest.of(data)}") as answer:
        return answer.status == 200


def copies(cluster: SmallCluster, data: bytes) -> int:
    """Origins that have the bytes."""
    return sum(Digest.of(data) in {it.digest for it in origin.blobs.digests()} for origin in cluster.origins)


async def test_what_no_manifest_needs_is_told_and_then_removed_everywhere(tmp_path: Path) -> None:
    async with (
        small_cluster(tmp_path, at_index=AT_INDEX, at_origin=AT_ORIGIN) as cluster,
        http_session(cluster.proxy.http) as session,
    ):
        await push_image(session, "team/app", IMAGE, "v1")
        await push_blob(session, "team/app", LONE)
        assert copies(cluster, LONE) >= 2
        await asyncio.sleep(1.5 * GRACE)

        code, printed = await gc(cluster, tmp_path, "--dry-run")
        assert code == 0
        assert f"team/app {Digest.of(LONE)}" in printed
        assert "no manifest of the repository needs it" in printed
        assert str(IMAGE.digest) not in printed
        assert await found(session, LONE)

        await asyncio.sleep(1.5 * GRACE)  # it was read
        code, printed = await gc(cluster, tmp_path)
        assert code == 0
        assert printed.count("removed 1 of kind bytes") == 3, printed
        assert not await found(session, LONE)
        assert copies(cluster, LONE) == 0
        assert await found(session, b"a layer")

        for origin in cluster.origins:
            await cluster.running.stop(origin)
        code, printed = await gc(cluster, tmp_path, "--dry-run", "--json")
        assert code == 1
        assert sum("origin" in node and isinstance(told, str) for node, told in json.loads(printed).items()) == 3


async def test_without_a_majority_of_index_nodes_nothing_is_removed_and_it_is_told_who_is_away(tmp_path: Path) -> None:
    async with (
        small_cluster(tmp_path, at_index=AT_INDEX, at_origin=AT_ORIGIN) as cluster,
        http_session(cluster.proxy.http) as session,
    ):
        await push_blob(session, "team/app", LONE)
        await asyncio.sleep(1.5 * GRACE)
        here, away = (index.http for index in cluster.indexes)
        await cluster.running.stop(cluster.indexes[1])

        for flags in (("--dry-run",), ()):
            code, printed = await gc(cluster, tmp_path, *flags)
            assert code == 1
            assert f"index {here}: could not collect: " in printed
            assert f"only 1 of 2 index nodes answered: {away}: cannot connect" in printed
            assert f"index {away}: did not answer: {away}: cannot connect" in printed
            assert copies(cluster, LONE) == 3


async def test_pushes_that_run_while_garbage_is_collected_lose_nothing(tmp_path: Path) -> None:
    """Blobs older than their grace, left over from pushes that broke off, are needed again at any moment."""
    layers = [f"layer {number}".encode() for number in range(12)]
    stop = asyncio.Event()

    async def collect_for_ever(cluster: SmallCluster) -> int:
        runs = 0
        async with aiohttp.ClientSession() as session:
            while not stop.is_set():
                for host in (*cluster.settings.indexes, *cluster.settings.origins):
                    async with session.post(f"http://{host}/garbage") as answer:
                        assert answer.status == 200, await answer.text()
                        runs += 1
        return runs

    async with small_cluster(tmp_path, at_index=AT_INDEX, at_origin=AT_ORIGIN) as cluster:
        other = cluster.another_proxy()
        async with running(other), http_session(cluster.proxy.http) as one, http_session(other.http) as two:
            collecting = asyncio.create_task(collect_for_ever(cluster))
            try:
                for turn in range(6):
                    for layer in layers:
                        await push_blob(one, "team/app", layer)
                    await asyncio.sleep(GRACE * (0.8 + 0.1 * turn))  # about when they become garbage
                    pushed = [an_image(layer, note=f"{turn}") for layer in layers[turn * 2 : turn * 2 + 2]]
                    for image in pushed:
                        await push_image(two, "team/app", image, f"v{turn}")
                    for image in pushed:
                        for blob in (*image.blobs,):
                            assert await found(one, blob), turn
                        async with one.get(f"/v2/team/app/manifests/{image.digest}") as answer:
                            assert (answer.status, await answer.read()) == (200, image.manifest)
            finally:
                stop.set()
            assert await collecting > 10
