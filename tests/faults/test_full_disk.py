"""Disks that are full: the right error, nothing half-written, and all is well again when there is room."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import aiohttp
import pytest
from tests.helpers.dev_cluster import DevCluster, dev_cluster
from tests.helpers.pulling import REPOSITORY, blob_path, client, pull, push, right, seeded_bytes
from tests.helpers.pushing import push_image, put_manifest
from tests.helpers.registry import an_image
from tests.helpers.tools import small_disk, spoil, until
from yarl import URL

from kraken.cli.layout import Counts
from kraken.core.digest import Digest
from kraken.core.pieces import KIB, MIB

COUNTS = Counts(origins=1, trackers=1, indexes=1, proxies=1, agents=1)
DISK = 24 * MIB
INDEX_DISK = MIB
TOO_MUCH = 32 * MIB
SETTINGS = {"agent": {"cache": {"min_free_bytes": 0}}}
_seeds = count(6000)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    """Origin, agent and index have small disks of their own."""
    data = tmp_path_factory.mktemp("full")
    with (
        small_disk(data / "origin-1", DISK),
        small_disk(data / "agent-1", DISK),
        small_disk(data / "index-1", INDEX_DISK),
        dev_cluster(data, COUNTS, settings=SETTINGS) as running,
    ):
        yield running


@pytest.fixture(autouse=True)
def _lives(cluster: DevCluster) -> Iterator[None]:
    """After each test: no task has crashed, nothing was unexpected, and no bytes are where they should not be."""
    yield
    assert cluster.crashes() == 0
    assert cluster.events("request_failed") == []
    kinds = {name.split("/")[1] for name in cluster.stored_files("origin") | cluster.stored_files("agent")}
    assert {kind for kind in kinds if not kind.startswith("manifests.sqlite")} <= {"blobs", "metainfo"}


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """The disk has no byte of room within the block."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            for size in (MIB, 4 * KIB, 1):
                while file_takes(file.fileno(), size):
                    pass
            yield
        finally:
            path.unlink()


def file_takes(fd: int, size: int) -> bool:
    """Whether the disk had room for so many more bytes of a file."""
    try:
        return os.write(fd, bytes(size)) > 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False


# An origin's disk.


async def test_a_blob_that_does_not_fit_at_the_origins_is_a_507_and_leaves_nothing(cluster: DevCluster) -> None:
    data = seeded_bytes(TOO_MUCH, next(_seeds))
    digest = Digest.of(data)
    before = used(cluster["origin-1"].data)
    async with (
        client(cluster.proxy) as session,
        session.post(f"/v2/{REPOSITORY}/blobs/uploads/?digest={digest}", data=data) as answer,
    ):
        await is_out_of_space(answer, "BLOB_UPLOAD_INVALID")

    await until(lambda: used(cluster["origin-1"].data) <= before, "what arrived is gone again")
    assert (await pull(cluster.proxy, digest)).status == 404
    await a_push_works(cluster)


async def test_an_upload_in_chunks_that_does_not_fit_can_be_cancelled(cluster: DevCluster) -> None:
    before = used(cluster["origin-1"].data)
    async with client(cluster.proxy) as session:
        async with session.post(f"/v2/{REPOSITORY}/blobs/uploads/") as answer:
            place = URL(answer.headers["Location"], encoded=True)
        async with session.patch(place, data=seeded_bytes(TOO_MUCH, next(_seeds))) as answer:
            await is_out_of_space(answer, "BLOB_UPLOAD_INVALID")
        async with session.get(place) as answer:
            assert answer.status == 204
        async with session.delete(place) as answer:
            assert answer.status == 204

    assert used(cluster["origin-1"].data) <= before
    await a_push_works(cluster)


async def test_an_origin_without_any_room_still_serves_and_takes_all_again_later(cluster: DevCluster) -> None:
    small, large, late = (seeded_bytes(size, next(_seeds)) for size in (100, MIB, 300 * KIB))
    image = an_image(small)
    digest = await push(cluster.proxy, large)
    await push(cluster.proxy, small)
    await push(cluster.proxy, image.blobs[0])
    async with client(cluster.proxy) as session:
        with filled(cluster["origin-1"].data):
            path = f"/v2/{REPOSITORY}/blobs/uploads/?digest={Digest.of(late)}"
            async with session.post(path, data=late) as answer:
                await is_out_of_space(answer, "BLOB_UPLOAD_INVALID")
            path = f"/v2/{REPOSITORY}/manifests/full"
            async with session.put(path, data=image.manifest, headers={"Content-Type": image.media_type}) as answer:
                await is_out_of_space(answer, "TOOMANYREQUESTS")
            assert await pull(cluster.proxy, digest) == right(digest, len(large))
            assert await pull(cluster.agent, digest) == right(digest, len(large))
        await put_manifest(session, REPOSITORY, image, "full")
        assert await push(cluster.proxy, late) == Digest.of(late)


# An index node's disk.


async def test_an_index_without_room_refuses_tags_and_keeps_those_it_has(cluster: DevCluster) -> None:
    old, new = an_image(b"layer", note="old"), an_image(b"layer", note="new")
    async with client(cluster.proxy) as session:
        await push_image(session, "full/index", old, "1")
        with filled(cluster["index-1"].data):
            statuses = []
            for number in range(300):  # what the log of the database still has room for may pass
                path = f"/v2/full/index/manifests/{number}"
                async with session.put(path, data=old.manifest, headers={"Content-Type": old.media_type}) as answer:
                    statuses.append(answer.status)
                    if answer.status != 201:
                        await is_out_of_space(answer, "TOOMANYREQUESTS")
                        break
            assert statuses[-1] == 507
            async with session.get("/v2/full/index/manifests/1") as answer:
                assert answer.status == 200
        await push_image(session, "full/index", new, "1")
        async with session.get("/v2/full/index/manifests/1") as answer:
            assert await answer.read() == new.manifest


# An agent's disk.


async def test_a_blob_that_can_never_fit_at_an_agent_is_a_507_and_leaves_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    data = tmp_path_factory.mktemp("small")
    with small_disk(data / "agent-1", DISK), dev_cluster(data, COUNTS, settings=SETTINGS) as cluster:
        large, small = (seeded_bytes(size, next(_seeds)) for size in (TOO_MUCH, MIB))
        digest = await push(cluster.proxy, large)
        before = used(cluster["agent-1"].data)
        async with client(cluster.agent) as session, session.get(blob_path(digest)) as answer:
            await is_out_of_space(answer, "TOOMANYREQUESTS")

        assert used(cluster["agent-1"].data) <= before
        assert not cluster.partial_path("agent-1", digest).exists()
        fits = await push(cluster.proxy, small)
        assert await pull(cluster.agent, fits) == right(fits, len(small))


async def test_an_agent_lets_old_blobs_go_when_its_disk_is_full(cluster: DevCluster) -> None:
    blobs = [seeded_bytes(3 * MIB, next(_seeds)) for _ in range(4)]
    digests = [await push(cluster.proxy, data) for data in blobs]
    with ballast(cluster["agent-1"].data, 12 * MIB):
        for digest, data in zip(digests, blobs, strict=True):
            assert await pull(cluster.agent, digest) == right(digest, len(data))

    assert cluster.metric("agent-1", "kraken_evictions_total") > 0
    assert cluster.blob_path("agent-1", digests[-1]).exists()


async def test_an_agent_without_any_room_says_so_serves_what_it_has_and_recovers(cluster: DevCluster) -> None:
    image = an_image(seeded_bytes(MIB, next(_seeds)), note="agent")
    other = an_image(seeded_bytes(MIB, next(_seeds)), note="other")
    cold, small = (seeded_bytes(size, next(_seeds)) for size in (MIB, 1000))
    async with client(cluster.proxy) as session:
        await push_image(session, "full/agent", image, "1", "2")
        await push_image(session, "full/agent", other, "other")
    layer = await push(cluster.proxy, image.blobs[1])
    digests = [await push(cluster.proxy, data) for data in (cold, small)]
    async with client(cluster.agent) as session:
        assert (await pull(cluster.agent, layer)).status == 200
        async with session.get("/v2/full/agent/manifests/1") as answer:
            assert answer.status == 200
        with filled(cluster["agent-1"].data):
            for tag in ("1", "2", str(image.digest)):
                async with session.get(f"/v2/full/agent/manifests/{tag}") as answer:
                    assert (answer.status, await answer.read()) == (200, image.manifest)
            assert await pull(cluster.agent, layer) == right(layer, MIB)
        for digest, data in zip(digests, (cold, small), strict=True):
            assert await pull(cluster.agent, digest) == right(digest, len(data))


async def test_a_damaged_blob_at_an_agent_without_room_reaches_no_client(cluster: DevCluster) -> None:
    data = seeded_bytes(2 * MIB, next(_seeds))
    digest = await push(cluster.proxy, data)
    assert await pull(cluster.agent, digest) == right(digest, len(data))
    with filled(cluster["agent-1"].data):
        spoil(cluster.blob_path("agent-1", digest), at=MIB)
        async with client(cluster.agent) as session, session.get(blob_path(digest)) as answer:
            try:
                body = await answer.read()
            except aiohttp.ClientPayloadError:
                body = b""
            assert answer.status in (507, 503) or body in (b"", data)

    assert await pull(cluster.agent, digest) == right(digest, len(data))


@contextmanager
def ballast(disk: Path, size: int) -> Iterator[None]:
    """So many bytes of the disk are taken within the block."""
    path = disk / "ballast"
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    try:
        yield
    finally:
        path.unlink()


async def a_push_works(cluster: DevCluster) -> None:
    data = seeded_bytes(MIB, next(_seeds))
    digest = await push(cluster.proxy, data)
    assert await pull(cluster.proxy, digest) == right(digest, len(data))


async def is_out_of_space(answer: aiohttp.ClientResponse, code: str) -> None:
    body = await answer.read()
    assert answer.status == 507, (answer.status, body)
    assert int(answer.headers["Retry-After"]) > 0
    errors = json.loads(body)["errors"]
    assert [each["code"] for each in errors] == [code]
    assert errors[0]["message"]


def used(disk: Path) -> int:
    """Bytes of a disk that are taken."""
    about = os.statvfs(disk)
    return (about.f_blocks - about.f_bfree) * about.f_frsize
