"""Processes that die without a word, in the middle of their work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import aiohttp
import pytest
from tests.helpers.dev_cluster import DevCluster, dev_cluster
from tests.helpers.pulling import blob_path, client, pull, push, right, seeded_bytes
from tests.helpers.pushing import push_image
from tests.helpers.registry import Image, an_image
from tests.helpers.tools import frozen, spoil, thaw

from kraken.cli.layout import Counts
from kraken.core.digest import Digest
from kraken.core.peers import Address
from kraken.core.pieces import KIB, MIB

COUNTS = Counts(origins=3, trackers=2, indexes=2, proxies=1, agents=2)
QUICK = {"probe_seconds": 0.5, "retry_seconds": 0.2, "probe_timeout_seconds": 1}
ONE_BY_ONE = {"swarm": {"requests_total": 1, "requests_per_peer": 1}}
"""Pieces are fetched one after the other, so that there is a middle of a download."""

SETTINGS = {kind: {"cluster": QUICK} for kind in ("origin", "tracker", "proxy")} | {
    "agent": {"cluster": QUICK, **ONE_BY_ONE}
}
SIZE = 96 * MIB
PIECE = 256 * KIB
_seeds = count(3000)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    with dev_cluster(tmp_path_factory.mktemp("killed"), COUNTS, processes=True, settings=SETTINGS) as running:
        yield running


@asynccontextmanager
async def a_pull_in_the_middle(
    cluster: DevCluster, digest: Digest, name: str = "agent-1"
) -> AsyncIterator[aiohttp.ClientResponse]:
    """A client that has had the first bytes of a blob of which the frozen agent lacks many pieces."""
    async with client(cluster[name].http) as session, session.get(blob_path(digest)) as answer:
        await answer.content.readexactly(PIECE)
        with frozen(cluster[name].pid):
            assert cluster.partial_path(name, digest).exists()
            assert not cluster.blob_path(name, digest).exists()
            assert 0 < claimed(cluster, name, digest) < SIZE // PIECE, "the download was not in its middle"
            yield answer


def claimed(cluster: DevCluster, name: str, digest: Digest) -> int:
    """How many pieces of a blob an agent has written down as here."""
    path = cluster.partial_path(name, digest)
    return sum(path.with_name(path.name + ".pieces").read_bytes())


async def test_an_agent_killed_in_a_download_goes_on_with_the_pieces_it_had(cluster: DevCluster) -> None:
    data = seeded_bytes(SIZE, next(_seeds))
    digest = await push(cluster.proxy, data)

    async with a_pull_in_the_middle(cluster, digest):
        cluster.kill("agent-1")
    kept = claimed(cluster, "agent-1", digest)
    cluster.start_again("agent-1")

    assert await pull(cluster.agent, digest) == right(digest, SIZE)
    fetched = cluster.metric("agent-1", "kraken_p2p_bytes_total", direction="in")
    assert fetched < SIZE
    assert SIZE - kept * PIECE <= fetched <= SIZE - (kept - 1) * PIECE
    line = cluster.events("pull_finished", name="agent-1", digest=str(digest))[-1]
    assert line["from_cache"] == kept * PIECE
    assert cluster.blob_path("agent-1", digest).read_bytes() == data


async def test_a_corrupt_piece_in_what_a_killed_agent_had_is_fetched_again(cluster: DevCluster) -> None:
    data = seeded_bytes(SIZE, next(_seeds))
    digest = await push(cluster.proxy, data)

    async with a_pull_in_the_middle(cluster, digest):
        cluster.kill("agent-1")
    kept = claimed(cluster, "agent-1", digest)
    spoil(cluster.partial_path("agent-1", digest), at=1000)
    cluster.start_again("agent-1")

    assert await pull(cluster.agent, digest) == right(digest, SIZE)
    assert cluster.metric("agent-1", "kraken_p2p_bytes_total", direction="in") >= SIZE - (kept - 1) * PIECE
    corrupt = cluster.events("piece_corrupt", name="agent-1", digest=str(digest))
    assert [(line["piece"], line["source"]) for line in corrupt] == [(0, "store")]
    assert cluster.blob_path("agent-1", digest).read_bytes() == data


async def test_claims_that_are_lies_are_not_believed(cluster: DevCluster) -> None:
    """As after a power cut: the record says that pieces are here, and the disk never got them."""
    data = seeded_bytes(SIZE, next(_seeds))
    digest = await push(cluster.proxy, data)

    async with a_pull_in_the_middle(cluster, digest):
        cluster.kill("agent-1")
    path = cluster.partial_path("agent-1", digest)
    path.with_name(path.name + ".pieces").write_bytes(b"\1" * (SIZE // PIECE))
    cluster.start_again("agent-1")

    assert await pull(cluster.agent, digest) == right(digest, SIZE)
    assert cluster.blob_path("agent-1", digest).read_bytes() == data


async def test_a_pull_finishes_although_an_origin_and_a_tracker_die_in_its_middle(cluster: DevCluster) -> None:
    data, later = (seeded_bytes(size, next(_seeds)) for size in (SIZE, 5 * MIB))
    digest = await push(cluster.proxy, data)
    other = await push(cluster.proxy, later)

    async with a_pull_in_the_middle(cluster, digest) as answer:
        sent = {each.name: cluster.metric(each.name, "kraken_p2p_bytes_total") for each in cluster.of("origin")}
        victim = max(sent, key=lambda name: sent[name])
        assert sent[victim] > 0
        cluster.kill(victim)
        cluster.kill("tracker-1")
        try:
            thaw(cluster["agent-1"].pid)
            received, hasher = PIECE, digest.algorithm.hasher()
            hasher.update(data[:PIECE])
            async for chunk in answer.content.iter_any():
                hasher.update(chunk)
                received += len(chunk)

            assert (received, hasher.hexdigest()) == (SIZE, digest.encoded)
            # Without them blobs can still be pulled that nobody has yet, and pushed.
            assert await pull(cluster.agent, other) == right(other, len(later))
            new = await push(cluster.proxy, later[::-1])
            assert await pull(cluster["agent-2"].http, new) == right(new, len(later))
        finally:
            cluster.start_again(victim)
            cluster.start_again("tracker-1")

    assert cluster.crashes() == 0


async def test_a_push_that_only_one_origin_could_keep_is_not_acknowledged(cluster: DevCluster) -> None:
    data = seeded_bytes(MIB, next(_seeds))
    digest = Digest.of(data)
    path = f"/v2/tests/blobs/blobs/uploads/?digest={digest}"
    dead = ("origin-1", "origin-3")
    for name in dead:
        cluster.kill(name)
    try:
        async with client(cluster.proxy) as session, session.post(path, data=data) as answer:
            body = await answer.json()
            assert answer.status == 503
            assert answer.headers["Retry-After"]
            assert [each["code"] for each in body["errors"]] == ["BLOB_UPLOAD_INVALID"]
    finally:
        for name in dead:
            cluster.start_again(name)

    async with client(cluster.proxy) as session, session.post(path, data=data) as answer:
        assert answer.status == 201
    assert await pull(cluster.agent, digest) == right(digest, MIB)


async def test_a_push_that_was_acknowledged_survives_the_death_of_everything(tmp_path: Path) -> None:
    image = an_image(seeded_bytes(5 * MIB, 1), seeded_bytes(300 * KIB, 2), b"small")
    with dev_cluster(tmp_path, Counts(3, 1, 2, 1, 1), processes=True) as cluster:
        async with client(cluster.proxy) as session:
            await push_image(session, "kept/app", image, "1", "latest")
        cluster.kill_all()
        cluster.restart()

        for registry in (cluster.proxy, cluster.agent):
            await check_image(registry, "kept/app", image)
        layer = image.blobs[1]
        copies = [cluster.blob_path(origin.name, Digest.of(layer)) for origin in cluster.of("origin")]
        kept = [path.read_bytes() for path in copies if path.exists()]
        assert len(kept) >= 2  # the write quorum
        assert set(kept) == {layer}


async def check_image(registry: Address, name: str, image: Image) -> None:
    """Everything of an image can be pulled, by its tags too."""
    async with client(registry) as session:
        for tag in ("1", "latest", str(image.digest)):
            async with session.get(f"/v2/{name}/manifests/{tag}") as answer:
                assert (answer.status, await answer.read()) == (200, image.manifest)
        for data in image.blobs:
            async with session.get(f"/v2/{name}/blobs/{Digest.of(data)}") as answer:
                assert (answer.status, await answer.read()) == (200, data)
