"""Origins as a cluster: what their clients rely on."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.helpers.blobs import Blob, a_blob, blob_of, broken_stream, stream_of
from tests.unit.origin.cluster import Cluster, cluster_of

from kraken.cluster.hashring import rank
from kraken.cluster.hosts import NodeCard
from kraken.cluster.settings import ClusterSettings
from kraken.core.digest import Algorithm, Digest
from kraken.core.errors import BadConfig, Corrupt, NotFound, OffsetMismatch, Rejected, Unavailable
from kraken.core.peers import Address
from kraken.core.pieces import KIB, MIB, ByteRange
from kraken.origin.app import Origin
from kraken.origin.settings import OriginSettings
from kraken.p2p.suggestions import Lot
from kraken.runtime.web import HttpSettings
from kraken.storage.layout import Layout


async def pushed(cluster: Cluster, blob: Blob) -> int:
    """Push by an upload session; returns how many owners had it at the acknowledgement."""
    session = cluster.client.new_session()
    await cluster.client.begin(session)
    assert await cluster.client.append(session, stream_of(blob.data), 0) == len(blob.data)
    return (await cluster.client.commit(session, blob.digest)).replicas


async def pulled(cluster: Cluster, blob: Blob, start: int = 0, stop: int | None = None) -> bytes:
    span = ByteRange(start, len(blob.data) if stop is None else stop)
    return b"".join([chunk async for chunk in cluster.client.stream(blob.digest, span)])


def owners(cluster: Cluster, digest: Digest) -> set[Address]:
    return set(cluster.members.owners(str(digest)))


async def test_a_push_reaches_its_owners_and_reads_back(tmp_path: Path) -> None:
    blob = a_blob(pieces=20)
    async with cluster_of(3, tmp_path) as cluster:
        assert await pushed(cluster, blob) >= 2

        await cluster.held_everywhere(str(blob.digest), owners(cluster, blob.digest))
        assert await cluster.client.size(blob.digest) == len(blob.data)
        assert await pulled(cluster, blob) == blob.data
        assert await pulled(cluster, blob, 5, 9_000) == blob.data[5:9_000]
        assert await cluster.client.metainfo(blob.digest) == (blob.metainfo, None)


async def test_the_owners_that_can_be_reached_share_a_blob_out_among_them(tmp_path: Path) -> None:
    digest = a_blob(pieces=2).digest
    async with cluster_of(4, tmp_path) as cluster:
        first, *others = cluster.members.owners(str(digest))
        (stranger,) = set(cluster.settings.origins) - {first, *others}

        lots = [cluster.origins[owner].node.lot(digest) for owner in (first, *others)]
        assert lots == [Lot(0, 3), Lot(1, 3), Lot(2, 3)]
        assert cluster.origins[stranger].node.lot(digest) == Lot()

        await cluster.stop(first)
        async with asyncio.timeout(20):
            while cluster.origins[others[0]].node.lot(digest) != Lot(0, 2):  # until its probes have failed
                await asyncio.sleep(0.01)


async def test_a_landing_origin_that_is_no_owner_lets_go(tmp_path: Path) -> None:
    blob = a_blob(pieces=2)
    async with cluster_of(4, tmp_path, replicas=2) as cluster:
        stranger = next(host for host in cluster.settings.origins if host not in owners(cluster, blob.digest))
        session = next(
            name
            for name in (f"session-{number}" for number in range(1000))
            if rank(name, cluster.settings.origins)[0] == stranger
        )
        await cluster.client.begin(session)
        await cluster.client.append(session, blob.data)
        await cluster.client.commit(session, blob.digest)

        await cluster.held_everywhere(str(blob.digest), owners(cluster, blob.digest))
        assert await pulled(cluster, blob) == blob.data


async def test_a_push_needs_a_quorum_of_owners(tmp_path: Path) -> None:
    first, second = a_blob(seed=1), a_blob(seed=2)
    async with cluster_of(3, tmp_path) as cluster:
        one, other, _ = cluster.settings.origins
        await cluster.stop(one)
        assert await pushed(cluster, first) == 2

        await cluster.stop(other)
        with pytest.raises(Unavailable):
            await pushed(cluster, second)


async def test_a_blob_lost_by_one_owner_is_read_from_another(tmp_path: Path) -> None:
    blob = a_blob(pieces=3)
    async with cluster_of(3, tmp_path) as cluster:
        await pushed(cluster, blob)
        await cluster.held_everywhere(str(blob.digest), set(cluster.settings.origins))
        await cluster.stop(cluster.members.ranked(str(blob.digest))[0])

        assert await pulled(cluster, blob) == blob.data
        assert await cluster.client.size(blob.digest) == len(blob.data)
        assert await cluster.client.metainfo(blob.digest) == (blob.metainfo, None)


async def test_a_missing_blob_is_not_found_only_when_everybody_was_asked(tmp_path: Path) -> None:
    unknown = Digest.of(b"nobody pushed this")
    async with cluster_of(3, tmp_path) as cluster:
        with pytest.raises(NotFound):
            await cluster.client.size(unknown)
        with pytest.raises(NotFound):
            await cluster.client.metainfo(unknown)
        with pytest.raises(NotFound):
            await anext(aiter(cluster.client.stream(unknown, ByteRange(0, 1))))

        await cluster.stop(cluster.settings.origins[0])
        with pytest.raises(Unavailable):
            await cluster.client.size(unknown)
        with pytest.raises(Unavailable):
            await cluster.client.metainfo(unknown)
        with pytest.raises(Unavailable):
            await anext(aiter(cluster.client.stream(unknown, ByteRange(0, 1))))


async def test_stat_tells_the_sizes_of_many_blobs_at_once(tmp_path: Path) -> None:
    blobs = [blob_of(bytes([number]) * (number + 1)) for number in range(12)]
    async with cluster_of(4, tmp_path, replicas=2) as cluster:
        for blob in blobs:
            await cluster.client.put_blob(blob.digest, blob.data)

        known = await cluster.client.stat([*(blob.digest for blob in blobs), Digest.of(b"unknown")])

        assert known == {blob.digest: len(blob.data) for blob in blobs}


async def test_a_small_blob_travels_with_its_metainfo(tmp_path: Path) -> None:
    small, large, empty = blob_of(b"{}"), blob_of(bytes(64 * KIB + 1)), blob_of(b"")
    async with cluster_of(1, tmp_path) as cluster:
        for blob in (small, large, empty):
            await cluster.client.put_blob(blob.digest, blob.data)

        assert await cluster.client.metainfo(small.digest) == (small.metainfo, b"{}")
        assert await cluster.client.metainfo(large.digest) == (large.metainfo, None)
        assert await cluster.client.metainfo(empty.digest) == (empty.metainfo, b"")
        assert await pulled(cluster, empty) == b""


async def test_an_upload_survives_a_restart_of_its_origin(tmp_path: Path) -> None:
    blob = a_blob(pieces=8)
    async with cluster_of(3, tmp_path) as cluster:
        session = cluster.client.new_session()
        landing = rank(session, cluster.settings.origins)[0]
        await cluster.client.begin(session)
        await cluster.client.append(session, blob.data[:700_000], 0)
        await cluster.stop(landing)
        await cluster.start(landing)

        assert await cluster.client.offset(session) == 700_000
        await cluster.client.append(session, blob.data[700_000:], 700_000)
        await cluster.client.commit(session, blob.digest)

        assert await pulled(cluster, blob) == blob.data


async def test_blobs_survive_a_restart(tmp_path: Path) -> None:
    blob = a_blob(pieces=3, algorithm=Algorithm.SHA512)
    async with cluster_of(1, tmp_path) as cluster:
        await pushed(cluster, blob)
        await cluster.stop(cluster.settings.origins[0])
        await cluster.start(cluster.settings.origins[0])

        assert await pulled(cluster, blob) == blob.data
        assert await cluster.client.metainfo(blob.digest) == (blob.metainfo, None)


async def test_a_client_that_breaks_off_can_go_on(tmp_path: Path) -> None:
    blob = a_blob(pieces=8)
    async with cluster_of(1, tmp_path) as cluster:
        session = cluster.client.new_session()
        await cluster.client.begin(session)
        with pytest.raises(ValueError, match="the client is gone"):
            await cluster.client.append(
                session, broken_stream([blob.data[:300_000]], ValueError("the client is gone")), 0
            )

        arrived = await settled_offset(cluster, session)
        assert 0 <= arrived <= 300_000
        await cluster.client.append(session, blob.data[arrived:], arrived)
        await cluster.client.commit(session, blob.digest)

        assert await pulled(cluster, blob) == blob.data


async def settled_offset(cluster: Cluster, session: str) -> int:
    """The offset once the origin has noticed that the request before is over: an empty chunk is taken then."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await cluster.client.append(session, b"")
            except Unavailable:
                await asyncio.sleep(0.01)


async def test_a_chunk_out_of_order_is_refused_with_the_right_offset(tmp_path: Path) -> None:
    async with cluster_of(1, tmp_path) as cluster:
        session = cluster.client.new_session()
        await cluster.client.begin(session)
        await cluster.client.append(session, b"12345", 0)

        for offset in (0, 4, 6):
            with pytest.raises(OffsetMismatch) as caught:
                await cluster.client.append(session, b"abc", offset)
            assert caught.value.offset == 5
        with pytest.raises(OffsetMismatch):
            await cluster.client.commit(session, Digest.of(b"12345"), b"6", 4)

        await cluster.client.commit(session, Digest.of(b"123456"), b"6", 5)
        assert await cluster.client.size(Digest.of(b"123456")) == 6


async def test_a_wrong_digest_is_rejected_everywhere_it_can_be_given(tmp_path: Path) -> None:
    wrong = Digest.of(b"something else")
    async with cluster_of(1, tmp_path) as cluster:
        address = cluster.settings.origins[0]
        session = cluster.client.new_session()
        await cluster.client.begin(session)
        await cluster.client.append(session, b"12345")
        with pytest.raises(Rejected):
            await cluster.client.commit(session, wrong)
        with pytest.raises(Rejected):
            await cluster.client.put_blob(wrong, b"12345")
        with pytest.raises(Rejected):
            await cluster.http.bytes("PUT", address, f"/replicas/{wrong}", data=b"12345")

        with pytest.raises(NotFound):
            await cluster.client.size(wrong)
        assert list(Layout(tmp_path / str(address.port)).uploads.iterdir()) == []


async def test_values_that_make_no_sense_are_rejected(tmp_path: Path) -> None:
    async with cluster_of(1, tmp_path) as cluster:
        address = cluster.settings.origins[0]
        for method, path, params in [
            ("GET", "/blobs/sha256:xyz", {}),
            ("GET", "/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", {}),
            ("POST", "/uploads/..", {}),
            ("POST", "/uploads/%2e%2e%2fetc", {}),
            ("POST", "/uploads/short", {}),
            ("PATCH", "/uploads/session-1", {"offset": "-1"}),
            ("PATCH", "/uploads/session-1", {"offset": "1e3"}),
            ("PUT", "/uploads/session-1", {}),
            ("GET", "/metainfo/latest", {}),
        ]:
            with pytest.raises((Rejected, NotFound)):
                await cluster.http.bytes(method, address, path, params=params)
        with pytest.raises(Rejected):
            await cluster.http.bytes("POST", address, "/stat", data=b"[")
        with pytest.raises(Rejected):
            await cluster.http.bytes("POST", address, "/stat", data=b'{"digests":["sha256:1"]}')


async def test_an_existing_blob_may_be_pushed_again_and_by_two_at_once(tmp_path: Path) -> None:
    blob = a_blob(pieces=6)
    async with cluster_of(3, tmp_path) as cluster:
        replicas = await asyncio.gather(*(pushed(cluster, blob) for _ in range(4)))
        assert min(replicas) >= 2
        assert await pushed(cluster, blob) >= 2
        assert (await cluster.client.put_blob(blob.digest, blob.data)).size == len(blob.data)

        await cluster.held_everywhere(str(blob.digest), set(cluster.settings.origins))
        assert await pulled(cluster, blob) == blob.data


async def test_a_corrupt_piece_is_never_served_and_another_owner_answers(tmp_path: Path) -> None:
    blob = a_blob(pieces=3)
    async with cluster_of(3, tmp_path) as cluster:
        await pushed(cluster, blob)
        await cluster.held_everywhere(str(blob.digest), set(cluster.settings.origins))
        first = cluster.members.ranked(str(blob.digest))[0]
        path = Layout(tmp_path / str(first.port)).blob(blob.digest)
        with path.open("r+b") as file:
            file.seek(300_000)
            file.write(b"rot!")
        os.utime(path, ns=(1, 1))

        assert await pulled(cluster, blob) == blob.data
        assert first not in await cluster.holders(str(blob.digest))
        with pytest.raises(NotFound):
            await cluster.http.bytes("GET", first, f"/blobs/{blob.digest}")


async def test_a_corrupt_blob_of_the_only_origin_is_an_error_and_no_404(tmp_path: Path) -> None:
    blob = blob_of(b"few bytes")
    async with cluster_of(1, tmp_path) as cluster:
        address = cluster.settings.origins[0]
        await pushed(cluster, blob)
        path = Layout(tmp_path / str(address.port)).blob(blob.digest)
        path.write_bytes(b"other one")

        with pytest.raises(Corrupt):
            await cluster.http.bytes("GET", address, f"/metainfo/{blob.digest}", params={"content": 1})


async def test_ranges_follow_the_rules_of_http(tmp_path: Path) -> None:
    blob = blob_of(b"0123456789")
    async with cluster_of(1, tmp_path) as cluster:
        await pushed(cluster, blob)
        address, path = cluster.settings.origins[0], f"/blobs/{blob.digest}"
        for wanted, status, content_range, body in [
            (None, 200, None, b"0123456789"),
            ("bytes=2-4", 206, "bytes 2-4/10", b"234"),
            ("bytes=8-99", 206, "bytes 8-9/10", b"89"),
            ("bytes=-3", 206, "bytes 7-9/10", b"789"),
        ]:
            headers = {} if wanted is None else {"Range": wanted}
            async with cluster.http.stream("GET", address, path, headers=headers) as answer:
                found = (answer.status, answer.headers.get("Content-Range"), await answer.read())
            assert found == (status, content_range, body)
        with pytest.raises(Rejected):
            await cluster.http.bytes("GET", address, path, headers={"Range": "bytes=10-"})
        async with cluster.http.stream("HEAD", address, path) as answer:
            assert (answer.status, answer.headers["Content-Length"]) == (200, "10")


async def test_a_session_can_be_abandoned_by_any_proxy(tmp_path: Path) -> None:
    async with cluster_of(3, tmp_path) as cluster:
        session = cluster.client.new_session()
        await cluster.client.begin(session)
        await cluster.client.abandon(session)

        with pytest.raises(NotFound):
            await cluster.client.offset(session)
        with pytest.raises(NotFound):
            await cluster.client.append(session, b"x")


async def test_an_origin_tells_what_it_is_and_whether_it_is_ready(tmp_path: Path) -> None:
    async with cluster_of(1, tmp_path) as cluster:
        address = cluster.settings.origins[0]
        card = await cluster.http.json("GET", address, "/node", into=NodeCard)

        assert (card.kind, card.name) == ("origin", f"origin-{address.port}")
        assert await cluster.http.bytes("GET", address, "/readyz")


async def test_an_origin_that_the_cluster_does_not_name_does_not_start(tmp_path: Path) -> None:
    settings = OriginSettings(
        data=tmp_path,
        http=HttpSettings(listen=Address("0.0.0.0", 5200)),
        cluster=ClusterSettings(origins=(Address("origin-1", 5200),)),
    )

    with pytest.raises(BadConfig):
        Origin(settings)


async def test_a_data_directory_has_one_origin_at_a_time(tmp_path: Path) -> None:
    async with cluster_of(1, tmp_path) as cluster:
        settings = OriginSettings(data=tmp_path / str(cluster.settings.origins[0].port))
        second = Origin(settings)
        with pytest.raises(BadConfig, match="in use"):
            await second.start()
        await second.stop()


async def test_a_large_upload_keeps_memory_small(tmp_path: Path) -> None:
    chunk = bytes(MIB)
    expected = Digest.of(chunk * 64)
    async with cluster_of(1, tmp_path) as cluster:
        session = cluster.client.new_session()
        await cluster.client.begin(session)
        await cluster.client.append(session, stream_of(*([chunk] * 64)))
        assert (await cluster.client.commit(session, expected)).size == 64 * MIB

        received = 0
        async for part in cluster.client.stream(expected, ByteRange(0, 64 * MIB)):
            received += len(part)
        assert received == 64 * MIB
