"""An agent that is told to fetch ahead: a manifest is enough for it to have the layers."""

from __future__ import annotations

from pathlib import Path

import aiohttp
from tests.helpers.blobs import a_blob
from tests.helpers.dev_cluster import dev_cluster
from tests.helpers.pushing import push_image
from tests.helpers.registry import an_image
from tests.helpers.tools import until

from kraken.cli.layout import Counts
from kraken.core.digest import Digest

COUNTS = Counts(origins=1, trackers=1, indexes=1, proxies=1, agents=2)
LAYERS = (a_blob(pieces=5, seed=1).data, a_blob(pieces=3, seed=2).data)


async def test_who_takes_a_manifest_finds_its_layers_on_the_way(tmp_path: Path) -> None:
    image = an_image(*LAYERS)
    settings = {"agent": {"download": {"prefetch": True}}}
    with dev_cluster(tmp_path, COUNTS, settings=settings) as cluster:
        async with aiohttp.ClientSession(f"http://{cluster.proxy}") as session:
            await push_image(session, "team/app", image, "1")
        async with aiohttp.ClientSession(f"http://{cluster.agent}") as session:
            async with session.head("/v2/team/app/manifests/1") as answer:
                assert answer.status == 200
            async with session.get("/v2/team/app/manifests/1") as answer:
                assert await answer.read() == image.manifest

        paths = [cluster.blob_path("agent-1", Digest.of(layer)) for layer in LAYERS]
        await until(lambda: all(path.exists() for path in paths), "the layers are here")

        assert [path.read_bytes() for path in paths] == list(LAYERS)
        assert not any(cluster.blob_path("agent-2", Digest.of(layer)).exists() for layer in LAYERS)
        assert cluster.events("pull_finished", kind="blob") == [], "nobody has asked for them"
