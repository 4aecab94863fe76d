"""The write side of the registry API, against real origins and index nodes on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from multidict import CIMultiDictProxy
from tests.helpers.components import SmallCluster, http_session, index_client, running, small_cluster
from tests.helpers.pushing import push_blob, push_image, put_manifest
from tests.helpers.registry import Image, an_image, an_index

from kraken.core.digest import Algorithm, Digest
from kraken.oci.manifests import CLIENT_MANIFEST_BYTES, DOCKER_LIST, OCI_MANIFEST
from kraken.oci.references import RepositoryName
from kraken.proxy.settings import PushSettings

DATA = bytes(range(256)) * 4000  # about 1 MB: more than one block, and not a whole number of them
DIGEST = Digest.of(DATA)
WRONG = Digest.of(b"something else")
UPLOADS = "/v2/team/app/blobs/uploads/"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: CIMultiDictProxy[str]
    codes: list[str]


@dataclass(frozen=True, slots=True)
class Client:
    """A client of the registry that tells exactly what it was answered."""

    session: aiohttp.ClientSession

    async def ask(
        self, method: str, path: str, data: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        async with self.session.request(method, path, data=data, headers=headers) as answer:
            codes: list[str] = []
            if answer.status >= 400:
                assert answer.headers["Content-Type"] == "application/json"
                codes = [error["code"] for error in (await answer.json())["errors"]]
            return Answer(answer.status, answer.headers, codes)

    async def begin(self) -> str:
        answer = await self.ask("POST", UPLOADS)
        assert (answer.status, answer.headers["Range"]) == (202, "0-0")
        return answer.headers["Location"]

    async def chunk(self, location: str, data: bytes, start: int) -> Answer:
        headers = {"Content-Range": f"{start}-{start + len(data) - 1}", "Content-Type": "application/octet-stream"}
        return await self.ask("PATCH", location, data, headers)

    async def blob(self, digest: Digest) -> bytes | None:
        """The blob as it can be pulled, after a HEAD that agrees; None for a 404."""
        path = f"/v2/team/app/blobs/{digest}"
        async with self.session.head(path) as answer:
            head_status, length = answer.status, answer.headers.get("Content-Length")
        async with self.session.get(path) as answer:
            assert answer.status == head_status
            if answer.status == 404:
                return None
            received = await answer.read()
        assert length == str(len(received))
        return received


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[SmallCluster]:
    async with small_cluster(tmp_path) as built:
        yield built


@pytest.fixture
async def client(cluster: SmallCluster) -> AsyncIterator[Client]:
    async with http_session(cluster.proxy.http) as session:
        yield Client(session)


async def in_pieces(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def closing(location: str, digest: object = DIGEST) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


async def test_a_whole_blob_by_one_post(client: Client) -> None:
    answer = await client.ask("POST", f"{UPLOADS}?digest={DIGEST}", DATA)

    assert answer.status == 201
    assert answer.headers["Location"] == f"/v2/team/app/blobs/{DIGEST}"
    assert answer.headers["Docker-Content-Digest"] == str(DIGEST)
    assert await client.blob(DIGEST) == DATA


async def test_a_whole_blob_by_post_and_put(client: Client) -> None:
    answer = await client.ask("PUT", closing(await client.begin()), DATA)

    assert (answer.status, answer.headers["Location"]) == (201, f"/v2/team/app/blobs/{DIGEST}")
    assert await client.blob(DIGEST) == DATA


async def test_a_stream_without_any_length(client: Client) -> None:
    location = await client.begin()
    answer = await client.ask("PATCH", location, in_pieces(DATA))
    assert (answer.status, answer.headers["Range"]) == (202, f"0-{len(DATA) - 1}")

    answer = await client.ask("PUT", closing(answer.headers["Location"]))

    assert answer.status == 201
    assert await client.blob(DIGEST) == DATA


async def test_a_body_of_known_length_and_no_range_and_a_last_one_with_the_put(client: Client) -> None:
    location = await client.begin()
    answer = await client.ask("PATCH", location, DATA[:1000])
    assert (answer.status, answer.headers["Range"]) == (202, "0-999")

    assert (await client.ask("PUT", closing(location), in_pieces(DATA[1000:]))).status == 201
    assert await client.blob(DIGEST) == DATA


async def test_chunks_with_their_ranges(client: Client) -> None:
    location = await client.begin()
    for start in range(0, len(DATA), 300_000):
        answer = await client.chunk(location, DATA[start : start + 300_000], start)
        location = answer.headers["Location"]
        last = min(start + 300_000, len(DATA)) - 1
        assert (answer.status, answer.headers["Range"]) == (202, f"0-{last}")

        status = await client.ask("GET", location)
        assert (status.status, status.headers["Range"]) == (204, f"0-{last}")
        assert status.headers["Location"] == location

    assert (await client.ask("PUT", closing(location))).status == 201
    assert await client.blob(DIGEST) == DATA


async def test_a_chunk_out_of_order_is_416_and_the_right_one_still_succeeds(client: Client) -> None:
    location = await client.begin()
    assert (await client.chunk(location, DATA[100:200], 100)).status == 416
    status = await client.ask("GET", location)
    assert (status.status, status.headers["Range"]) == (204, "0-0")

    assert (await client.chunk(location, DATA[:100], 0)).status == 202
    for start in (0, 50, 101, 200):
        answer = await client.chunk(location, DATA[start : start + 100], start)
        assert (answer.status, answer.codes) == (416, ["BLOB_UPLOAD_INVALID"])
        assert answer.headers["Range"] == "0-99"
        assert (await client.ask("GET", location)).headers["Range"] == "0-99"
    headers = {"Content-Range": f"200-{len(DATA) - 1}"}
    assert (await client.ask("PUT", closing(location), DATA[200:], headers)).status == 416

    headers = {"Content-Range": f"100-{len(DATA) - 1}"}
    assert (await client.ask("PUT", closing(location), DATA[100:], headers)).status == 201
    assert await client.blob(DIGEST) == DATA


@pytest.mark.parametrize(
    ("content_range", "code"),
    [("0-98", "SIZE_INVALID"), ("0-100", "SIZE_INVALID"), ("bytes 0-99/100", "BLOB_UPLOAD_INVALID"),
     ("x", "BLOB_UPLOAD_INVALID"), ("99-0", "BLOB_UPLOAD_INVALID")],
)  # fmt: skip
async def test_a_range_that_does_not_fit_its_chunk_is_refused_and_nothing_is_stored(
    client: Client, content_range: str, code: str
) -> None:
    location = await client.begin()
    answer = await client.ask("PATCH", location, DATA[:100], {"Content-Range": content_range})

    assert (answer.status, answer.codes) == (400, [code])
    assert (await client.ask("GET", location)).headers["Range"] == "0-0"


async def test_a_stream_that_does_not_fit_its_range_is_refused(client: Client) -> None:
    for length in (99, 101):
        answer = await client.ask(
            "PATCH", await client.begin(), in_pieces(DATA[:length], 10), {"Content-Range": "0-99"}
        )

        assert (answer.status, answer.codes) == (400, ["SIZE_INVALID"])


async def test_the_empty_blob(client: Client) -> None:
    empty = Digest.of(b"")
    assert (await client.ask("PUT", closing(await client.begin(), empty))).status == 201

    assert await client.blob(empty) == b""


async def test_sha512_may_be_announced_at_the_end(client: Client) -> None:
    digest = Digest.of(DATA, Algorithm.SHA512)
    location = await client.begin()
    await client.ask("PATCH", location, DATA)
    answer = await client.ask("PUT", closing(location, quote(str(digest))))

    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, str(digest))
    assert await client.blob(digest) == DATA
    assert await client.blob(DIGEST) is None


async def test_a_wrong_digest_is_told_and_leaves_no_blob(client: Client) -> None:
    location = await client.begin()
    await client.ask("PATCH", location, DATA)
    for method, path, data in (
        ("PUT", closing(location, WRONG), None),
        ("PUT", closing(await client.begin(), WRONG), DATA),
        ("POST", f"{UPLOADS}?digest={WRONG}", DATA),
    ):
        answer = await client.ask(method, path, data)

        assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
    assert await client.blob(WRONG) is None
    assert await client.blob(DIGEST) is None


async def test_a_malformed_or_missing_digest_is_told_before_anything_is_read(client: Client) -> None:
    location = await client.begin()
    for method, path in (
        ("PUT", location),
        ("PUT", closing(location, "sha256:0")),
        ("PUT", closing(location, "md5:" + "0" * 32)),
        ("POST", f"{UPLOADS}?digest=x"),
        ("POST", f"{UPLOADS}?mount=x&from=a"),
        ("POST", f"{UPLOADS}?digest-algorithm=md5"),
    ):
        answer = await client.ask(method, path, DATA)

        assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
    assert (await client.ask("GET", location)).headers["Range"] == "0-0"


async def test_a_session_that_nobody_began_is_unknown(client: Client) -> None:
    for name in (uuid.uuid4().hex, "..%2f..%2fetc", "x" * 300):
        location = f"{UPLOADS}{name}"
        for method, path in (
            ("GET", location), ("PATCH", location), ("PUT", closing(location)), ("DELETE", location)
        ):  # fmt: skip
            answer = await client.ask(method, path, b"x" if method in ("PATCH", "PUT") else None)

            assert answer.status == 404
            assert answer.codes in (["BLOB_UPLOAD_UNKNOWN"], ["NAME_UNKNOWN"])


async def test_a_cancelled_session_is_gone(client: Client) -> None:
    location = await client.begin()
    await client.ask("PATCH", location, DATA)

    assert (await client.ask("DELETE", location)).status == 204
    for method in ("DELETE", "GET"):
        answer = await client.ask(method, location)
        assert (answer.status, answer.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])


async def test_a_mount_succeeds_only_where_another_repository_has_the_blob(client: Client) -> None:
    await push_blob(client.session, "team/other", DATA)
    await push_blob(client.session, "team/third", b"another")
    for query, status in (
        (f"mount={DIGEST}&from=team%2Fother", 201),
        (f"from=team/other&mount={DIGEST}", 201),
        (f"mount={DIGEST}", 201),
        (f"mount={DIGEST}&from=team/third", 202),
        (f"mount={DIGEST}&from=UPPER", 202),
        (f"mount={WRONG}", 202),
        (f"mount={WRONG}&from=team/other", 202),
    ):
        answer = await client.ask("POST", f"{UPLOADS}?{query}")

        assert answer.status == status
        if status == 201:
            assert answer.headers["Location"] == f"/v2/team/app/blobs/{DIGEST}"
        else:
            assert (await client.ask("GET", answer.headers["Location"])).status == 204


async def test_one_blob_may_be_pushed_twice_and_by_two_at_once(client: Client) -> None:
    answers = await asyncio.gather(*(client.ask("POST", f"{UPLOADS}?digest={DIGEST}", DATA) for _ in range(3)))
    answers.append(await client.ask("POST", f"{UPLOADS}?digest={DIGEST}", DATA))

    assert [answer.status for answer in answers] == [201] * 4
    assert await client.blob(DIGEST) == DATA


async def test_any_proxy_goes_on_with_a_session(cluster: SmallCluster, client: Client) -> None:
    location = await client.begin()
    await client.chunk(location, DATA[:500_000], 0)
    other = cluster.another_proxy()
    async with running(other), http_session(other.http) as session:
        second = Client(session)

        assert (await second.ask("GET", location)).headers["Range"] == "0-499999"
        assert (await second.chunk(location, DATA[500_000:], 500_000)).status == 202
        assert (await second.ask("PUT", closing(location))).status == 201
    assert await client.blob(DIGEST) == DATA


async def test_a_client_that_breaks_off_may_go_on_where_the_session_says(client: Client) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield DATA[:300_000]
        raise RuntimeError("the cable was pulled")

    location = await client.begin()
    with pytest.raises((RuntimeError, aiohttp.ClientError)):
        await client.ask("PATCH", location, broken())
    # The origin may take a moment to see that the stream is broken; until then the session has a writer.
    async with asyncio.timeout(10):
        while True:
            told = (await client.ask("GET", location)).headers["Range"]
            held = 0 if told == "0-0" else int(told[2:]) + 1
            if (answer := await client.chunk(location, DATA[held:], held)).status == 202:
                break
            assert answer.status in (416, 503)

    assert (await client.ask("PUT", closing(location))).status == 201
    assert await client.blob(DIGEST) == DATA


async def test_a_push_is_seen_in_the_metrics(cluster: SmallCluster, client: Client) -> None:
    await client.ask("POST", f"{UPLOADS}?digest={DIGEST}", DATA)
    await client.ask("POST", f"{UPLOADS}?digest={WRONG}", DATA)
    await client.blob(DIGEST)

    metrics = cluster.proxy.metrics
    assert metrics.value("kraken_pushes_total", kind="blob", result="ok") == 1
    assert metrics.value("kraken_pushes_total", kind="blob", result="failed") == 1
    assert metrics.value("kraken_push_bytes_total") == 2 * len(DATA)
    assert metrics.value("kraken_pull_bytes_total", source="origins") == len(DATA)


async def test_origins_that_are_gone_are_503_with_a_time_to_come_again(cluster: SmallCluster, client: Client) -> None:
    await push_blob(client.session, "team/app", DATA)
    location = await client.begin()
    await client.chunk(location, DATA[:100], 0)
    await asyncio.gather(*map(cluster.running.stop, cluster.origins))

    for method, path, data in (
        ("POST", UPLOADS, None),
        ("POST", f"{UPLOADS}?digest={DIGEST}", DATA),
        ("GET", location, None),
        ("PATCH", location, DATA),
        ("PUT", closing(location), None),
        ("DELETE", location, None),
        ("GET", f"/v2/team/app/blobs/{DIGEST}", None),
    ):
        answer = await client.ask(method, path, data)

        assert answer.status == 503, (method, path)
        assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [
        ("takes nothing more", 503),
        ("closes", 503),
        (b"503 Service Unavailable", 503),
        (b"507 Insufficient Storage", 507),
    ],
)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_an_origin_that_fails_during_an_upload_is_told_and_never_waited_for(
    tmp_path: Path, behaviour: bytes | str, status: int, method: str
) -> None:
    async with small_cluster(tmp_path, 1, 1, PushSettings(stall_seconds=0.3)) as cluster:
        await cluster.running.stop(cluster.origins[0])
        failing = await asyncio.start_server(origin_that(behaviour), "127.0.0.1", cluster.origins[0].http.port)
        # Closed without waiting, for what holds its connection never lets go of it.
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(failing.close)
            session = await stack.enter_async_context(http_session(cluster.proxy.http))
            location = f"{UPLOADS}{uuid.uuid4().hex}"
            path = closing(location) if method == "PUT" else location
            answer = await Client(session).ask(method, path, in_pieces(DATA * 20))

            assert (answer.status, answer.codes) == (status, ["BLOB_UPLOAD_INVALID"])
            assert int(answer.headers["Retry-After"]) >= 1


def origin_that(
    behaviour: bytes | str,
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """An origin that answers where a session ends, takes the header of an upload and a little more, and then fails."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET "):
                answer(writer, b"200 OK", b'{"offset":0}')
            await reader.read(1000)
            if isinstance(behaviour, bytes):
                kind = b"OutOfSpace" if behaviour.startswith(b"507") else b"Unavailable"
                answer(writer, behaviour, b'{"error":"%s","message":"no"}' % kind)
                await reader.read()
            elif behaviour == "takes nothing more":
                await asyncio.Event().wait()
        writer.close()

    def answer(writer: asyncio.StreamWriter, status: bytes, body: bytes) -> None:
        header = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        writer.write(header % (status, len(body)) + body)

    return serve


async def test_a_manifest_needs_what_it_refers_to(client: Client) -> None:
    image = an_image(b"first layer", b"second layer")
    headers = {"Content-Type": image.media_type}
    await push_blob(client.session, "team/app", image.blobs[1])
    answer = await client.ask("PUT", "/v2/team/app/manifests/latest", image.manifest, headers)

    assert (answer.status, answer.codes) == (400, ["MANIFEST_BLOB_UNKNOWN"] * 2)
    async with client.session.get("/v2/team/app/manifests/latest") as found:
        assert found.status == 404

    for blob in image.blobs:
        await push_blob(client.session, "team/app", blob)
    answer = await client.ask("PUT", "/v2/team/app/manifests/latest", image.manifest, headers)
    assert answer.status == 201
    assert answer.headers["Location"] == f"/v2/team/app/manifests/{image.digest}"
    assert answer.headers["Docker-Content-Digest"] == str(image.digest)
    assert "OCI-Subject" not in answer.headers


async def test_an_index_needs_its_manifests_in_the_same_repository(client: Client) -> None:
    one, two = an_image(b"amd64"), an_image(b"arm64")
    index = an_index(one, two)
    headers = {"Content-Type": index.media_type}
    await push_image(client.session, "team/app", one, str(one.digest))
    await push_image(client.session, "team/elsewhere", two, str(two.digest))
    answer = await client.ask("PUT", "/v2/team/app/manifests/multi", index.manifest, headers)
    assert (answer.status, answer.codes) == (400, ["MANIFEST_BLOB_UNKNOWN"])

    await push_image(client.session, "team/app", two, str(two.digest))
    await put_manifest(client.session, "team/app", index, "multi")

    nested = an_index(index)
    await put_manifest(client.session, "team/app", nested, str(nested.digest))
    async with client.session.get(f"/v2/team/app/manifests/{nested.digest}") as found:
        assert (found.status, await found.read()) == (200, nested.manifest)


async def test_an_index_renews_its_manifests_so_that_no_collector_takes_them_meanwhile(tmp_path: Path) -> None:
    image = an_image(b"amd64")
    async with (
        small_cluster(tmp_path) as cluster,
        http_session(cluster.proxy.http) as session,
        index_client(cluster.settings.indexes) as names,
    ):
        await push_image(session, "team/app", image, str(image.digest))
        repository = RepositoryName("team/app")
        _, pushed = await names.lookup(repository, image.digest)
        await put_manifest(session, "team/app", an_index(image), "multi")

        assert (await names.lookup(repository, image.digest))[1] > pushed


async def test_a_sparse_index_is_a_matter_of_settings(tmp_path: Path) -> None:
    push = PushSettings(sparse_indexes=True)
    async with small_cluster(tmp_path, push=push) as cluster, http_session(cluster.proxy.http) as session:
        await put_manifest(session, "team/app", an_index(an_image(b"never pushed")), "sparse")


async def test_a_subject_need_not_exist_and_is_always_told(client: Client) -> None:
    artifact = an_image(b"signature", subject=WRONG)
    for blob in artifact.blobs:
        await push_blob(client.session, "team/app", blob)
    for reference in ("signature", artifact.digest):
        path = f"/v2/team/app/manifests/{reference}"
        answer = await client.ask("PUT", path, artifact.manifest, {"Content-Type": artifact.media_type})

        assert (answer.status, answer.headers["OCI-Subject"]) == (201, str(WRONG))


async def test_layers_that_are_not_uploaded_are_not_asked_for(client: Client) -> None:
    foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    image = an_image(b"never uploaded")
    body = image.manifest.replace(b"application/vnd.oci.image.layer.v1.tar", foreign.encode())
    await push_blob(client.session, "team/app", image.blobs[0])

    await put_manifest(client.session, "team/app", Image(body, OCI_MANIFEST, ()), "windows")


async def test_a_manifest_by_digest_may_get_many_tags(client: Client) -> None:
    image = an_image(b"x")
    await push_image(client.session, "team/app", image)
    tags = [f"v{number}" for number in range(12)]
    query = "&".join(f"tag={tag}" for tag in tags)
    path = f"/v2/team/app/manifests/{image.digest}"
    answer = await client.ask("PUT", f"{path}?{query}", image.manifest, {"Content-Type": image.media_type})

    assert (answer.status, answer.headers["OCI-Tag"].split(", ")) == (201, tags)
    async with client.session.get("/v2/team/app/tags/list") as listed:
        assert sorted((await listed.json())["tags"]) == sorted(tags)

    query = "&".join(f"tag=v{number}" for number in range(101))
    assert (await client.ask("PUT", f"{path}?{query}", image.manifest)).status == 414
    assert (await client.ask("PUT", f"{path}?tag=.x", image.manifest)).codes == ["MANIFEST_INVALID"]


@pytest.mark.parametrize(
    ("body", "content_type", "reference", "status", "code"),
    [
        (b"{}", OCI_MANIFEST, "latest", 400, "MANIFEST_INVALID"),
        (b"", OCI_MANIFEST, "latest", 400, "MANIFEST_INVALID"),
        (b"\xff\xfe", OCI_MANIFEST, "latest", 400, "MANIFEST_INVALID"),
        (an_image(b"").manifest, DOCKER_LIST, "latest", 400, "MANIFEST_INVALID"),
        (an_image(b"").manifest, "text/plain", "latest", 400, "MANIFEST_INVALID"),
        (an_image(b"").manifest + b" ", OCI_MANIFEST, an_image(b"").digest, 400, "DIGEST_INVALID"),
        (an_image(b"").manifest, OCI_MANIFEST, "sha256:0", 400, "DIGEST_INVALID"),
        (b" " * (CLIENT_MANIFEST_BYTES + 1), OCI_MANIFEST, "latest", 413, "MANIFEST_INVALID"),
    ],
)
async def test_a_manifest_that_is_none_is_refused(
    client: Client, body: bytes, content_type: str, reference: object, status: int, code: str
) -> None:
    path = f"/v2/team/app/manifests/{reference}"
    for data in (body, in_pieces(body)):
        answer = await client.ask("PUT", path, data, {"Content-Type": content_type})

        assert (answer.status, answer.codes) == (status, [code])


async def test_the_largest_manifest_is_taken(client: Client) -> None:
    image = an_image(b"x")
    for blob in image.blobs:
        await push_blob(client.session, "team/app", blob)
    padded = Image(image.manifest + b" " * (CLIENT_MANIFEST_BYTES - len(image.manifest)), image.media_type, ())
    await put_manifest(client.session, "team/app", padded, "large")

    async with client.session.get("/v2/team/app/manifests/large") as found:
        assert await found.read() == padded.manifest


async def test_without_a_majority_of_index_nodes_no_tag_is_written(cluster: SmallCluster, client: Client) -> None:
    image = an_image(b"x")
    await push_image(client.session, "team/app", image, "v1")
    await cluster.running.stop(cluster.indexes[0])
    headers = {"Content-Type": image.media_type}
    answer = await client.ask("PUT", "/v2/team/app/manifests/v2", image.manifest, headers)

    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) >= 1
    async with client.session.get("/v2/team/app/manifests/v1") as found:
        assert found.status == 200
