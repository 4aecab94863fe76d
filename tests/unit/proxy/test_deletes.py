"""Deletes through a proxy, against real index nodes and origins on loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from tests.helpers.components import http_session, index_client, running, small_cluster
from tests.helpers.pushing import push_blob, push_image, put_manifest
from tests.helpers.registry import an_image

from kraken.core.digest import Digest
from kraken.oci.manifests import CLIENT_MANIFEST_BYTES
from kraken.oci.references import RepositoryName
from kraken.oci.tag_patterns import TagPattern
from kraken.proxy.settings import PushSettings

IMAGE, OTHER = an_image(b"a layer"), an_image(b"another layer")
LAYER = Digest.of(b"a layer")
APP, MANIFESTS, BLOBS = "team/app", "/v2/team/app/manifests/", "/v2/team/app/blobs/"


@asynccontextmanager
async def two_proxies(
    data: Path, push: PushSettings | None = None
) -> AsyncIterator[tuple[aiohttp.ClientSession, aiohttp.ClientSession]]:
    """One to change things at, and one to look at."""
    async with small_cluster(data, push=push or PushSettings()) as cluster:
        other = cluster.another_proxy()
        async with running(other), http_session(cluster.proxy.http) as one, http_session(other.http) as two:
            yield one, two


async def status(session: aiohttp.ClientSession, method: str, path: str) -> int:
    async with session.request(method, path) as answer:
        await answer.read()
        return answer.status


async def codes(session: aiohttp.ClientSession, method: str, path: str) -> tuple[int, list[str]]:
    async with session.request(method, path) as answer:
        return answer.status, [error["code"] for error in (await answer.json())["errors"]]


async def tags(session: aiohttp.ClientSession) -> list[str]:
    async with session.get("/v2/team/app/tags/list") as answer:
        return list(json.loads(await answer.read())["tags"])


async def test_a_deleted_tag_is_gone_and_its_manifest_stays(tmp_path: Path) -> None:
    async with two_proxies(tmp_path) as (one, two):
        await push_image(one, APP, IMAGE, "v1", "v2")

        assert await status(one, "DELETE", f"{MANIFESTS}v1") == 202
        for method in ("HEAD", "GET", "DELETE"):
            assert await status(two, method, f"{MANIFESTS}v1") == 404
        assert await status(two, "GET", f"{MANIFESTS}{IMAGE.digest}") == 200
        assert await tags(two) == ["v2"]


async def test_a_deleted_manifest_takes_its_tags_along(tmp_path: Path) -> None:
    async with two_proxies(tmp_path) as (one, two):
        await push_image(one, APP, IMAGE, "v1", "v2")
        await push_image(one, APP, OTHER, "v2")

        assert await status(one, "DELETE", f"{MANIFESTS}{IMAGE.digest}") == 202
        assert await codes(two, "DELETE", f"{MANIFESTS}{IMAGE.digest}") == (404, ["MANIFEST_UNKNOWN"])
        assert await status(two, "GET", f"{MANIFESTS}{IMAGE.digest}") == 404
        assert await status(two, "GET", f"{MANIFESTS}v1") == 404
        assert await tags(two) == ["v2"]

        await put_manifest(two, APP, IMAGE, IMAGE.digest)
        assert await tags(one) == ["v2"]


async def test_a_deleted_blob_is_gone_here_stays_elsewhere_and_can_be_pushed_again(tmp_path: Path) -> None:
    async with two_proxies(tmp_path) as (one, two):
        await push_image(one, APP, IMAGE, "v1")
        await push_blob(one, "team/other", b"a layer")

        assert await status(one, "DELETE", f"{BLOBS}{LAYER}") == 202
        for method in ("HEAD", "GET", "DELETE"):
            assert await status(two, method, f"{BLOBS}{LAYER}") == 404
        assert await status(two, "GET", f"/v2/team/other/blobs/{LAYER}") == 200

        await push_blob(two, APP, b"a layer")
        assert await status(one, "GET", f"{BLOBS}{LAYER}") == 200


async def test_a_blob_is_only_in_the_repositories_that_it_was_pushed_to(tmp_path: Path) -> None:
    async with two_proxies(tmp_path) as (one, two):
        for blob in IMAGE.blobs:
            await push_blob(one, "team/other", blob)

        assert await status(two, "HEAD", f"{BLOBS}{LAYER}") == 404
        async with two.put(f"{MANIFESTS}v1", data=IMAGE.manifest, headers={"Content-Type": IMAGE.media_type}) as answer:
            missing = [error["detail"]["digest"] for error in (await answer.json())["errors"]]
            assert (answer.status, set(missing)) == (400, {str(Digest.of(blob)) for blob in IMAGE.blobs})


async def test_a_deleted_referrer_vanishes_and_the_deletion_of_its_subject_leaves_it(tmp_path: Path) -> None:
    async def listed(session: aiohttp.ClientSession) -> list[str]:
        async with session.get(f"/v2/{APP}/referrers/{IMAGE.digest}") as answer:
            return [it["digest"] for it in json.loads(await answer.read())["manifests"]]

    signature = an_image(b"signature", subject=IMAGE.digest)
    async with two_proxies(tmp_path) as (one, two):
        await push_image(one, APP, IMAGE, "v1")
        await push_image(one, APP, signature)
        await status(one, "DELETE", f"{MANIFESTS}{IMAGE.digest}")
        assert await listed(two) == [str(signature.digest)]

        await status(one, "DELETE", f"{MANIFESTS}{signature.digest}")
        assert await listed(two) == []


async def test_where_deleting_is_switched_off_nothing_goes(tmp_path: Path) -> None:
    async with two_proxies(tmp_path, PushSettings(deletes=False)) as (one, two):
        await push_image(one, APP, IMAGE, "v1")
        for path in (f"{MANIFESTS}v1", f"{MANIFESTS}{IMAGE.digest}", f"{BLOBS}{LAYER}"):
            assert await codes(one, "DELETE", path) == (405, ["UNSUPPORTED"])
            assert await status(two, "GET", path) == 200


@pytest.mark.parametrize("reference", ["v1", IMAGE.digest])
async def test_an_immutable_tag_neither_moves_nor_goes(tmp_path: Path, reference: object) -> None:
    rules = PushSettings(immutable_tags=(TagPattern("team/.*", "v[0-9]+"),))
    async with two_proxies(tmp_path, rules) as (one, two):
        await push_image(one, APP, IMAGE, "v1", "latest")
        await push_image(one, APP, OTHER, "latest")
        await put_manifest(one, APP, IMAGE, "v1")  # the same again is no move

        headers = {"Content-Type": OTHER.media_type}
        async with one.put(f"{MANIFESTS}v1", data=OTHER.manifest, headers=headers) as answer:
            assert (answer.status, (await answer.json())["errors"][0]["code"]) == (403, "DENIED")
        assert await codes(one, "DELETE", f"{MANIFESTS}{reference}") == (403, ["DENIED"])
        async with two.get(f"{MANIFESTS}v1") as answer:
            assert await answer.read() == IMAGE.manifest
        assert await status(one, "DELETE", f"{MANIFESTS}latest") == 202


async def test_who_finds_a_blob_can_count_on_it_for_a_time_of_grace(tmp_path: Path) -> None:
    """A HEAD renews an old link, and leaves a young one alone."""
    for renew_seconds, renewed in ((0.0, True), (3600.0, False)):
        data = tmp_path / str(renewed)
        async with (
            small_cluster(data, push=PushSettings(renew_seconds=renew_seconds)) as cluster,
            http_session(cluster.proxy.http) as session,
            index_client(cluster.settings.indexes) as index,
        ):
            await push_blob(session, APP, b"a layer")
            before = (await index.links(RepositoryName(APP), [LAYER]))[LAYER]
            assert await status(session, "HEAD", f"{BLOBS}{LAYER}") == 200

            after = (await index.links(RepositoryName(APP), [LAYER]))[LAYER]
            assert (after.version > before.version) == renewed


async def test_the_longest_manifest_is_a_setting(tmp_path: Path) -> None:
    longer = IMAGE.manifest + b" " * CLIENT_MANIFEST_BYTES
    headers = {"Content-Type": IMAGE.media_type}
    for limit, expected in ((CLIENT_MANIFEST_BYTES, 413), (2 * CLIENT_MANIFEST_BYTES, 201)):
        async with two_proxies(tmp_path / str(limit), PushSettings(max_manifest_bytes=limit)) as (one, two):
            for blob in IMAGE.blobs:
                await push_blob(one, APP, blob)
            async with one.put(f"{MANIFESTS}large", data=longer, headers=headers) as answer:
                assert answer.status == expected
            if expected == 201:
                async with two.get(f"{MANIFESTS}large") as found:
                    assert await found.read() == longer
