"""The read side of the registry API, over every implementation of `RegistryReads`.

Requests go through the routes, so this is what clients see: statuses, headers, bytes.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import pytest
from multidict import CIMultiDictProxy
from tests.helpers.components import http_session, small_cluster
from tests.helpers.ports import free_address
from tests.helpers.pushing import push_blob, push_image, put_manifest
from tests.helpers.registry import Image, MemoryReads, an_image

from kraken.core.digest import Algorithm, Digest
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.oci.io.routes import RegistryRoutes
from kraken.oci.manifests import OCI_INDEX, OCI_MANIFEST
from kraken.oci.mirroring import Mirroring, MirroringSettings
from kraken.oci.references import RepositoryName
from kraken.runtime.web import HttpSettings, WebServer, component_app

LAYER = bytes(range(256)) * 1200  # more than one block
IMAGE = an_image(LAYER, b"")
OTHER = an_image(b"other")
SIGNATURE = an_image(b"signature", subject=IMAGE.digest)
SIGNATURE_TYPE = "application/vnd.oci.image.config.v1+json"
TAGS = ("B", "a", "latest", "v1", "v2")
REPOSITORY = "team/app/manifests/tags"
UNKNOWN = "sha256:" + "0" * 64
LAYER_512 = Digest.of(LAYER, Algorithm.SHA512)


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry that holds IMAGE under all TAGS, and LAYER under its sha512 as well."""

    session: aiohttp.ClientSession

    async def get(self, path: str, **headers: str) -> tuple[int, CIMultiDictProxy[str], bytes]:
        return await self._ask("GET", path, headers)

    async def head(self, path: str, **headers: str) -> tuple[int, CIMultiDictProxy[str], bytes]:
        return await self._ask("HEAD", path, headers)

    async def _ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, CIMultiDictProxy[str], bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, path, headers=named) as answer:
            return answer.status, answer.headers, await answer.read()

    async def error_of(self, path: str, **headers: str) -> tuple[int, list[str]]:
        async with self.session.get(path, headers=headers) as answer:
            assert answer.headers["Content-Type"] == "application/json"
            return answer.status, [error["code"] for error in (await answer.json())["errors"]]


@asynccontextmanager
async def in_memory(_data: Path) -> AsyncIterator[Registry]:
    reads = MemoryReads()
    for blob in IMAGE.blobs:
        reads.add_blob(blob)
    reads.add_blob(LAYER, Algorithm.SHA512)
    reads.add_manifest(RepositoryName(REPOSITORY), IMAGE.manifest, IMAGE.media_type, *TAGS)
    reads.add_manifest(RepositoryName(REPOSITORY), SIGNATURE.manifest, SIGNATURE.media_type)
    app = component_app("test", "test", Metrics("test", "test"), list)
    RegistryRoutes(reads, get_logger("test", "test"), Mirroring(MirroringSettings())).register(app)
    server = WebServer(app, HttpSettings(listen=free_address()))
    await server.start()
    try:
        async with http_session(server.address) as session:
            yield Registry(session)
    finally:
        await server.stop()


@asynccontextmanager
async def behind_a_proxy(data: Path) -> AsyncIterator[Registry]:
    async with small_cluster(data) as cluster, http_session(cluster.proxy.http) as session:
        await push_image(session, REPOSITORY, IMAGE, *TAGS)
        await push_image(session, REPOSITORY, SIGNATURE)
        await push_blob(session, REPOSITORY, LAYER, Algorithm.SHA512)
        yield Registry(session)


@asynccontextmanager
async def at_an_agent(data: Path) -> AsyncIterator[Registry]:
    async with small_cluster(data) as cluster, http_session(cluster.proxy.http) as proxy:
        await push_image(proxy, REPOSITORY, IMAGE, *TAGS)
        await push_image(proxy, REPOSITORY, SIGNATURE)
        await push_blob(proxy, REPOSITORY, LAYER, Algorithm.SHA512)
        agent = cluster.an_agent()
        await cluster.running.start(agent)
        async with http_session(agent.http) as session:
            yield Registry(session)


@pytest.fixture(params=[in_memory, behind_a_proxy, at_an_agent])
async def registry(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Registry]:
    async with request.param(tmp_path) as built:
        yield built


def blob(digest: object) -> str:
    return f"/v2/{REPOSITORY}/blobs/{digest}"


def manifest(reference: object) -> str:
    return f"/v2/{REPOSITORY}/manifests/{reference}"


def referrers(subject: object) -> str:
    return f"/v2/{REPOSITORY}/referrers/{subject}"


async def test_the_base_answers_that_this_is_a_registry(registry: Registry) -> None:
    for path in ("/v2/", "/v2"):
        status, headers, _ = await registry.get(path)

        assert (status, headers["Docker-Distribution-Api-Version"]) == (200, "registry/2.0")


@pytest.mark.parametrize("digest", [Digest.of(LAYER), LAYER_512])
async def test_a_blob_comes_whole_with_its_length_and_digest(registry: Registry, digest: Digest) -> None:
    for ask, body in ((registry.get, LAYER), (registry.head, b"")):
        status, headers, received = await ask(blob(digest), Accept_Encoding="gzip")

        assert (status, received) == (200, body)
        assert headers["Content-Length"] == str(len(LAYER))
        assert headers["Docker-Content-Digest"] == str(digest)
        assert headers["Accept-Ranges"] == "bytes"
        assert "Content-Encoding" not in headers
        assert "Transfer-Encoding" not in headers


async def test_the_empty_blob_is_a_blob(registry: Registry) -> None:
    for ask in (registry.get, registry.head):
        status, headers, received = await ask(blob(Digest.of(b"")))

        assert (status, headers["Content-Length"], received) == (200, "0", b"")


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("0-0", 0, 1),
        ("0-", 0, len(LAYER)),
        ("262143-262145", 262_143, 262_146),
        ("-5", len(LAYER) - 5, len(LAYER)),
        (f"300000-{10**15}", 300_000, len(LAYER)),
    ],
)
async def test_a_range_gives_exactly_its_bytes(registry: Registry, asked: str, start: int, stop: int) -> None:
    status, headers, received = await registry.get(blob(Digest.of(LAYER)), Range=f"bytes={asked}")

    assert (status, received) == (206, LAYER[start:stop])
    assert headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(LAYER)}"
    assert headers["Content-Length"] == str(stop - start)


@pytest.mark.parametrize("asked", [f"{len(LAYER)}-", "500-0", "-0", "x-y"])
async def test_a_range_outside_the_blob_is_416_and_tells_the_size(registry: Registry, asked: str) -> None:
    path = blob(Digest.of(LAYER))
    status, headers, _ = await registry.get(path, Range=f"bytes={asked}")

    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(LAYER)}")
    assert await registry.error_of(path, Range=f"bytes={asked}") == (416, ["SIZE_INVALID"])


async def test_a_range_of_other_bytes_gives_the_whole_blob(registry: Registry) -> None:
    for condition, wanted in ((f'"{UNKNOWN}"', 200), (f'"{Digest.of(LAYER)}"', 206)):
        status, _, _ = await registry.get(blob(Digest.of(LAYER)), Range="bytes=0-4", If_Range=condition)

        assert status == wanted


@pytest.mark.parametrize("reference", ["latest", IMAGE.digest])
async def test_a_manifest_comes_byte_for_byte_as_it_was_pushed(registry: Registry, reference: object) -> None:
    for ask, body in ((registry.get, IMAGE.manifest), (registry.head, b"")):
        status, headers, received = await ask(manifest(reference), Accept="application/x, text/html")

        assert (status, received) == (200, body)
        assert headers["Content-Type"] == IMAGE.media_type
        assert headers["Content-Length"] == str(len(IMAGE.manifest))
        assert headers["Docker-Content-Digest"] == str(IMAGE.digest)
        assert headers["ETag"] == f'"{IMAGE.digest}"'


async def test_what_a_client_has_already_is_not_sent_again(registry: Registry) -> None:
    for etag in (f'"{IMAGE.digest}"', f'"x", W/"{IMAGE.digest}"', "*"):
        for ask in (registry.get, registry.head):
            status, headers, received = await ask(manifest("latest"), If_None_Match=etag)

            assert (status, received, headers["ETag"]) == (304, b"", f'"{IMAGE.digest}"')
    assert (await registry.get(manifest("latest"), If_None_Match=f'"{UNKNOWN}"'))[0] == 200


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (blob(UNKNOWN), 404, "BLOB_UNKNOWN"),
        (blob("sha512:" + "0" * 128), 404, "BLOB_UNKNOWN"),
        (blob("sha256:0"), 400, "DIGEST_INVALID"),
        (blob("md5:" + "0" * 32), 400, "DIGEST_INVALID"),
        (manifest("missing"), 404, "MANIFEST_UNKNOWN"),
        (manifest(UNKNOWN), 404, "MANIFEST_UNKNOWN"),
        (manifest("-bad"), 400, "MANIFEST_INVALID"),
        ("/v2/nobody/manifests/latest", 404, "MANIFEST_UNKNOWN"),
        ("/v2/nobody/tags/list", 404, "NAME_UNKNOWN"),
        ("/v2/UPPER/tags/list", 400, "NAME_INVALID"),
        ("/v2/a//b/tags/list", 400, "NAME_INVALID"),
        ("/v2/nothing", 404, "NAME_UNKNOWN"),
        (f"/v2/{REPOSITORY}/tags/list?n=x", 400, "UNSUPPORTED"),
        (f"/v2/{REPOSITORY}/tags/list?n=-1", 400, "UNSUPPORTED"),
    ],
)
async def test_a_request_that_cannot_be_met_gets_its_code(
    registry: Registry, path: str, status: int, code: str
) -> None:
    assert await registry.error_of(path) == (status, [code])


async def test_an_error_has_no_body_where_the_method_has_none(registry: Registry) -> None:
    status, headers, received = await registry.head(blob(UNKNOWN))

    assert (status, received) == (404, b"")
    assert headers["Docker-Distribution-Api-Version"] == "registry/2.0"


async def test_tags_are_listed_in_bytewise_order(registry: Registry) -> None:
    async with registry.session.get(f"/v2/{REPOSITORY}/tags/list") as answer:
        assert await answer.json() == {"name": REPOSITORY, "tags": ["B", "a", "latest", "v1", "v2"]}
        assert "Link" not in answer.headers


async def test_pages_of_tags_lead_from_one_to_the_next(registry: Registry) -> None:
    pages: list[list[str]] = []
    link = f"/v2/{REPOSITORY}/tags/list?n=2"
    while link:
        async with registry.session.get(link) as answer:
            pages.append((await answer.json())["tags"])
            link = answer.headers.get("Link", "").partition(">")[0].removeprefix("<")

    assert pages == [["B", "a"], ["latest", "v1"], ["v2"]]


@pytest.mark.parametrize(
    ("query", "tags"),
    [("last=b", ["latest", "v1", "v2"]), ("last=zz", []), ("n=0", []), ("n=5", list(TAGS)), ("n=1&last=v1", ["v2"])],
)
async def test_last_need_not_exist_and_the_end_has_no_link(registry: Registry, query: str, tags: list[str]) -> None:
    async with registry.session.get(f"/v2/{REPOSITORY}/tags/list?{query}") as answer:
        assert (await answer.json())["tags"] == tags
        assert "Link" not in answer.headers


async def test_referrers_are_listed_as_an_index(registry: Registry) -> None:
    status, headers, body = await registry.get(referrers(IMAGE.digest))

    assert (status, headers["Content-Type"]) == (200, OCI_INDEX)
    assert "OCI-Filters-Applied" not in headers
    assert json.loads(body) == {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            {
                "mediaType": OCI_MANIFEST,
                "size": len(SIGNATURE.manifest),
                "digest": str(SIGNATURE.digest),
                "artifactType": SIGNATURE_TYPE,
            }
        ],
    }


@pytest.mark.parametrize(("wanted", "count"), [(SIGNATURE_TYPE, 1), ("application/other", 0)])
async def test_referrers_are_filtered_by_their_type(registry: Registry, wanted: str, count: int) -> None:
    status, headers, body = await registry.get(f"{referrers(IMAGE.digest)}?{urlencode({'artifactType': wanted})}")

    assert (status, headers["OCI-Filters-Applied"]) == (200, "artifactType")
    assert len(json.loads(body)["manifests"]) == count


@pytest.mark.parametrize("path", ["/v2/no/such/referrers/" + UNKNOWN, f"/v2/{REPOSITORY}/referrers/{UNKNOWN}"])
async def test_what_nobody_refers_to_has_an_empty_list(registry: Registry, path: str) -> None:
    status, _, body = await registry.get(path)

    assert (status, json.loads(body)["manifests"]) == (200, [])


async def test_a_malformed_subject_is_refused(registry: Registry) -> None:
    assert await registry.error_of(f"/v2/{REPOSITORY}/referrers/sha256:abc") == (400, ["DIGEST_INVALID"])


async def test_the_catalog_lists_each_repository_once(registry: Registry) -> None:
    assert json.loads((await registry.get("/v2/_catalog"))[2]) == {"repositories": [REPOSITORY]}
    assert json.loads((await registry.get(f"/v2/_catalog?last={REPOSITORY}"))[2]) == {"repositories": []}


async def test_what_is_not_supported_says_so(registry: Registry) -> None:
    for method, path in (("PATCH", manifest("latest")), ("PUT", blob(Digest.of(LAYER))), ("POST", "/v2/")):
        async with registry.session.request(method, path) as answer:
            assert answer.status == 405
            assert (await answer.json())["errors"][0]["code"] == "UNSUPPORTED"
            assert "GET" in answer.headers["Allow"]


async def test_without_a_write_side_nothing_can_be_written(tmp_path: Path) -> None:
    async with in_memory(tmp_path) as registry:
        for method, path in (
            ("POST", "/v2/a/blobs/uploads/"),
            ("PUT", manifest("latest")),
            ("DELETE", manifest("latest")),
            ("DELETE", blob(Digest.of(LAYER))),
        ):
            async with registry.session.request(method, path, data=b"x") as answer:
                assert answer.status == 405
                assert (await answer.json())["errors"][0]["code"] == "UNSUPPORTED"


async def test_a_moved_tag_is_seen_at_once(tmp_path: Path) -> None:
    async with behind_a_proxy(tmp_path) as registry:
        for image in (OTHER, IMAGE, OTHER):
            await _push(registry, image)
            status, headers, _ = await registry.head(manifest("latest"))

            assert (status, headers["Docker-Content-Digest"]) == (200, str(image.digest))


async def _push(registry: Registry, image: Image) -> None:
    for data in image.blobs:
        await push_blob(registry.session, REPOSITORY, data)
    await put_manifest(registry.session, REPOSITORY, image, "latest")
