"""What clients should never send: it gets the right error in the registry's form, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import aiohttp
import pytest
from tests.helpers.dev_cluster import DevCluster, dev_cluster
from tests.helpers.pulling import REPOSITORY, client, pull, push, right, seeded_bytes
from tests.helpers.registry import an_image, an_index
from tests.helpers.tools import until, wait_until
from yarl import URL

from kraken.cli.layout import Counts
from kraken.core.digest import Algorithm, Digest
from kraken.core.peers import Address
from kraken.core.pieces import KIB, MIB
from kraken.oci.manifests import OCI_MANIFEST

COUNTS = Counts(origins=2, trackers=1, indexes=1, proxies=1, agents=1)
HEADER_SECONDS = 1
LIMITS = {"http": {"header_seconds": HEADER_SECONDS, "idle_seconds": 1}}
SETTINGS = {"proxy": LIMITS, "agent": LIMITS}
UPLOADS = f"/v2/{REPOSITORY}/blobs/uploads/"
ABSENT = Digest.of(b"was never pushed")
NOBODY = uuid.UUID(int=7, version=4).hex
_seeds = count(5000)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    with dev_cluster(tmp_path_factory.mktemp("bad"), COUNTS, settings=SETTINGS) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_left_behind(cluster: DevCluster) -> Iterator[None]:
    """After each test: the process lives, and below the data directories are whole blobs and nothing else."""
    before = stored(cluster)
    yield
    for member in cluster.members.values():
        assert cluster.metric(member.name, "kraken_build_info") == 1
    assert cluster.crashes() == 0
    assert cluster.events("request_failed") == []
    wait_until(lambda: new_kinds(cluster, before) <= {"blobs", "metainfo"}, "nothing but whole blobs is left", 5.0)


def new_kinds(cluster: DevCluster, before: set[str]) -> set[str]:
    """In which directories files are that were not there before."""
    names = (name.split("/")[1] for name in stored(cluster) - before)
    return {name for name in names if not name.startswith("manifests.sqlite")}


def stored(cluster: DevCluster) -> set[str]:
    return cluster.stored_files("origin") | cluster.stored_files("agent")


@dataclass(frozen=True)
class Bad:
    """A request, and how it is to be answered."""

    method: str
    path: str
    status: int
    code: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None


READS = [
    Bad("GET", f"/v2/{REPOSITORY}/blobs/sha256:abc", 400, "DIGEST_INVALID"),
    Bad("GET", f"/v2/{REPOSITORY}/blobs/sha256:{'A' * 64}", 400, "DIGEST_INVALID"),
    Bad("GET", f"/v2/{REPOSITORY}/blobs/sha256:{'a' * 65}", 400, "DIGEST_INVALID"),
    Bad("GET", f"/v2/{REPOSITORY}/blobs/md5:{'a' * 32}", 400, "DIGEST_INVALID"),
    Bad("GET", f"/v2/{REPOSITORY}/blobs/{'a' * 64}", 400, "DIGEST_INVALID"),
    Bad("GET", f"/v2/{REPOSITORY}/blobs/..%2f..%2f..%2fetc%2fpasswd", 404, "NAME_UNKNOWN"),
    Bad("GET", f"/v2/{REPOSITORY}/blobs/sha256:%00", 400, "DIGEST_INVALID"),
    Bad("HEAD", f"/v2/{REPOSITORY}/blobs/sha256:abc", 400, ""),
    Bad("GET", f"/v2/{REPOSITORY}/blobs/{ABSENT}", 404, "BLOB_UNKNOWN"),
    Bad("HEAD", f"/v2/{REPOSITORY}/blobs/{ABSENT}", 404, ""),
    Bad("GET", f"/v2/{REPOSITORY}/blobs/{ABSENT}", 404, "BLOB_UNKNOWN", {"Range": "bytes=5-1"}),
    Bad("GET", f"/v2/UPPER/case/blobs/{ABSENT}", 400, "NAME_INVALID"),
    Bad("GET", f"/v2/-dash/blobs/{ABSENT}", 400, "NAME_INVALID"),
    Bad("GET", f"/v2/a//b/blobs/{ABSENT}", 400, "NAME_INVALID"),
    Bad("GET", f"/v2/..%2f..%2fetc/blobs/{ABSENT}", 400, "NAME_INVALID"),
    Bad("GET", f"/v2/{'a/' * 200}b/blobs/{ABSENT}", 400, "NAME_INVALID"),
    Bad("GET", f"/v2/blobs/{ABSENT}", 400, "NAME_INVALID"),
    Bad("GET", f"/v2/{REPOSITORY}/manifests/.dot", 400, "MANIFEST_INVALID"),
    Bad("GET", f"/v2/{REPOSITORY}/manifests/{'a' * 129}", 400, "MANIFEST_INVALID"),
    Bad("GET", f"/v2/{REPOSITORY}/manifests/sha256:abc", 400, "DIGEST_INVALID"),
    Bad("GET", f"/v2/{REPOSITORY}/manifests/absent", 404, "MANIFEST_UNKNOWN"),
    Bad("GET", f"/v2/{REPOSITORY}/manifests/{ABSENT}", 404, "MANIFEST_UNKNOWN"),
    Bad("GET", "/v2/no/such/tags/list", 404, "NAME_UNKNOWN"),
    Bad("GET", f"/v2/{REPOSITORY}/tags/list?n=-1", 400, "UNSUPPORTED"),
    Bad("GET", f"/v2/{REPOSITORY}/tags/list?n=many", 400, "UNSUPPORTED"),
    Bad("GET", "/v2/nothing-of-ours", 404, "NAME_UNKNOWN"),
    Bad("POST", f"/v2/{REPOSITORY}/blobs/{ABSENT}", 405, "UNSUPPORTED"),
    Bad("PATCH", f"/v2/{REPOSITORY}/manifests/latest", 405, "UNSUPPORTED"),
    Bad("TRACE", f"/v2/{REPOSITORY}/manifests/latest", 405, "UNSUPPORTED"),
]


@pytest.mark.parametrize("member", ["proxy-1", "agent-1"])
@pytest.mark.parametrize("bad", READS, ids=lambda bad: f"{bad.method} {bad.path[:60]}")
async def test_bad_reads(cluster: DevCluster, member: str, bad: Bad) -> None:
    await is_answered(cluster[member].http, bad)


ON_THE_AGENT = [
    Bad("POST", UPLOADS, 405, "UNSUPPORTED"),
    Bad("POST", f"{UPLOADS}?digest={ABSENT}", 405, "UNSUPPORTED", body=b"x" * 100),
    Bad("PUT", f"/v2/{REPOSITORY}/manifests/latest", 405, "UNSUPPORTED", {"Content-Type": OCI_MANIFEST}, b"{}"),
    Bad("DELETE", f"/v2/{REPOSITORY}/manifests/latest", 405, "UNSUPPORTED"),
    Bad("DELETE", f"/v2/{REPOSITORY}/blobs/{ABSENT}", 405, "UNSUPPORTED"),
    Bad("PATCH", f"{UPLOADS}{NOBODY}", 405, "UNSUPPORTED", body=b"x"),
]


@pytest.mark.parametrize("bad", ON_THE_AGENT, ids=lambda bad: f"{bad.method} {bad.path[:60]}")
async def test_nothing_can_be_changed_through_an_agent(cluster: DevCluster, bad: Bad) -> None:
    await is_answered(cluster.agent, bad)


IMAGE = an_image(b"a layer that nobody pushed")
BIG = 4 * MIB + 1
WRITES = [
    Bad("POST", f"{UPLOADS}?digest=sha256:abc", 400, "DIGEST_INVALID", body=b"x"),
    Bad("POST", f"{UPLOADS}?digest={ABSENT}", 400, "DIGEST_INVALID", body=b"other bytes"),
    Bad("POST", f"{UPLOADS}?digest={ABSENT}", 400, "DIGEST_INVALID", body=b"x" * (3 * MIB)),
    Bad("POST", f"{UPLOADS}?mount=sha256:abc&from=a/b", 400, "DIGEST_INVALID"),
    Bad("POST", f"{UPLOADS}?digest-algorithm=md5", 400, "DIGEST_INVALID"),
    Bad("POST", "/v2/UPPER/blobs/uploads/", 400, "NAME_INVALID"),
    Bad("GET", f"{UPLOADS}{NOBODY}", 404, "BLOB_UPLOAD_UNKNOWN"),
    Bad("PATCH", f"{UPLOADS}{NOBODY}", 404, "BLOB_UPLOAD_UNKNOWN", body=b"x"),
    Bad("PUT", f"{UPLOADS}{NOBODY}?digest={ABSENT}", 404, "BLOB_UPLOAD_UNKNOWN", body=b"x"),
    Bad("DELETE", f"{UPLOADS}{NOBODY}", 404, "BLOB_UPLOAD_UNKNOWN"),
    Bad("PATCH", f"{UPLOADS}..%2f..%2fx", 404, "NAME_UNKNOWN", body=b"x"),
    Bad("PATCH", f"{UPLOADS}not-an-id", 404, "BLOB_UPLOAD_UNKNOWN", body=b"x"),
    Bad("PUT", f"/v2/{REPOSITORY}/manifests/latest", 400, "MANIFEST_INVALID", {"Content-Type": OCI_MANIFEST}, b"{}"),
    Bad("PUT", f"/v2/{REPOSITORY}/manifests/latest", 400, "MANIFEST_INVALID", {"Content-Type": OCI_MANIFEST}, b"\xff"),
    Bad("PUT", f"/v2/{REPOSITORY}/manifests/latest", 400, "MANIFEST_INVALID", {}, b""),
    Bad("PUT", f"/v2/{REPOSITORY}/manifests/x", 400, "MANIFEST_INVALID", {"Content-Type": "text/plain"}, b"hello"),
    Bad("PUT", f"/v2/{REPOSITORY}/manifests/x", 400, "MANIFEST_INVALID", {"Content-Type": OCI_MANIFEST}, b"[" * 9999),
    Bad("PUT", f"/v2/{REPOSITORY}/manifests/x", 413, "MANIFEST_INVALID", {"Content-Type": OCI_MANIFEST}, b"{" * BIG),
    Bad("PUT", f"/v2/{REPOSITORY}/manifests/-x", 400, "MANIFEST_INVALID", {"Content-Type": OCI_MANIFEST}, b"{}"),
    Bad(
        "PUT", f"/v2/{REPOSITORY}/manifests/{ABSENT}", 400, "DIGEST_INVALID",
        {"Content-Type": OCI_MANIFEST}, IMAGE.manifest,
    ),
    Bad(
        "PUT", f"/v2/{REPOSITORY}/manifests/x", 400, "MANIFEST_BLOB_UNKNOWN",
        {"Content-Type": OCI_MANIFEST}, IMAGE.manifest,
    ),
    Bad(
        "PUT", f"/v2/{REPOSITORY}/manifests/x", 400, "MANIFEST_BLOB_UNKNOWN",
        {"Content-Type": an_index(IMAGE).media_type}, an_index(IMAGE).manifest,
    ),
]  # fmt: skip


@pytest.mark.parametrize("bad", WRITES, ids=lambda bad: f"{bad.method} {bad.path[:60]}")
async def test_bad_writes(cluster: DevCluster, bad: Bad) -> None:
    await is_answered(cluster.proxy, bad)


async def test_chunks_that_do_not_fit_are_refused_and_the_upload_can_go_on(cluster: DevCluster) -> None:
    data = seeded_bytes(300 * KIB, next(_seeds))
    digest = Digest.of(data)
    async with client(cluster.proxy) as session:
        place = await begun(session)
        assert await chunk(session, place, data[:1000], "0-999") == (202, "0-999", "")
        assert await chunk(session, place, data[500:1500], "500-1499") == (416, "0-999", "BLOB_UPLOAD_INVALID")
        assert await chunk(session, place, data[2000:3000], "2000-2999") == (416, "0-999", "BLOB_UPLOAD_INVALID")
        assert (await chunk(session, place, data[1000:1500], "1000-1999"))[0::2] == (400, "SIZE_INVALID")
        for nonsense in ("bytes 0-1/2", "x", "-5", "0-99999999999999999999999"):
            assert (await chunk(session, place, b"x", nonsense))[0::2] == (400, "BLOB_UPLOAD_INVALID")
        async with session.put(place.update_query(digest="sha256:abc")) as answer:
            assert (answer.status, await code_of(answer)) == (400, "DIGEST_INVALID")
        async with session.put(place) as answer:
            assert (answer.status, await code_of(answer)) == (400, "DIGEST_INVALID")
        async with session.get(place) as answer:
            assert (answer.status, answer.headers["Range"]) == (204, "0-999")
        assert (await chunk(session, place, data[1000:], f"1000-{len(data) - 1}"))[0] == 202
        async with session.put(place.update_query(digest=str(digest))) as answer:
            assert answer.status == 201

    assert await pull(cluster.proxy, digest) == right(digest, len(data))


async def test_a_commit_with_the_wrong_digest_ends_the_session_and_keeps_nothing(cluster: DevCluster) -> None:
    async with client(cluster.proxy) as session:
        place = await begun(session)
        assert (await chunk(session, place, b"some bytes", "0-9"))[0] == 202
        async with session.put(place.update_query(digest=str(ABSENT))) as answer:
            assert (answer.status, await code_of(answer)) == (400, "DIGEST_INVALID")
        async with session.get(place) as answer:
            assert answer.status == 404
    for registry in (cluster.proxy, cluster.agent):
        assert (await pull(registry, ABSENT)).status == 404
        assert (await pull(registry, Digest.of(b"some bytes"))).status == 404


RANGES = {
    "bytes=0-0": 206,
    "bytes=-1": 206,
    "bytes=999-": 206,
    "bytes=0-99999999999": 206,
    "bytes=1000-": 416,
    "bytes=-0": 416,
    "bytes=5-1": 416,
    "bytes=a-b": 416,
    "bytes=-": 416,
    "bytes=--5": 416,
    "bytes=0-" + "9" * 400: 416,
    "bytes=0-1,5-6": 200,
    "lines=0-1": 200,
    "nonsense": 200,
}


@pytest.mark.parametrize("member", ["proxy-1", "agent-1"])
async def test_ranges_of_every_kind(cluster: DevCluster, member: str) -> None:
    data = seeded_bytes(1000, seed=77)
    digest = await push(cluster.proxy, data)
    async with client(cluster[member].http) as session:
        for header, status in RANGES.items():
            async with session.get(f"/v2/{REPOSITORY}/blobs/{digest}", headers={"Range": header}) as answer:
                body = await answer.read()
                assert (header, answer.status) == (header, status)
            if status == 416:
                assert answer.headers["Content-Range"] == "bytes */1000"
                assert json.loads(body)["errors"]
            elif status == 200:
                assert body == data
            else:
                assert body in (data[:1], data[-1:], data)


async def test_a_body_that_stalls_is_given_up(cluster: DevCluster) -> None:
    digest = Digest.of(b"y" * 100_000)

    answer = await raw(cluster.proxy, post_of(digest, 100_000) + b"y" * 70_000)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"BLOB_UPLOAD_INVALID" in answer
    assert (await pull(cluster.proxy, digest)).status == 404


async def test_a_client_that_goes_away_in_the_middle_of_a_body_leaves_nothing(cluster: DevCluster) -> None:
    data = seeded_bytes(5 * MIB, next(_seeds))
    _, writer = await asyncio.open_connection(cluster.proxy.host, cluster.proxy.port)
    writer.write(post_of(Digest.of(data), len(data)) + data[: 3 * MIB])
    await until(lambda: any("/uploads/" in name for name in stored(cluster)), "bytes have arrived at an origin")

    writer.transport.abort()

    await until(lambda: not any("/uploads/" in name for name in stored(cluster)), "they are gone again")
    assert (await pull(cluster.proxy, Digest.of(data))).status == 404


def post_of(digest: Digest, length: int) -> bytes:
    """The header of a request that pushes a whole blob."""
    fields = f"Host: x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    return f"POST {UPLOADS}?digest={digest} HTTP/1.1\r\n{fields}".encode()


async def test_a_manifest_that_ends_early_is_no_manifest(cluster: DevCluster) -> None:
    head = (
        f"PUT /v2/{REPOSITORY}/manifests/cut HTTP/1.1\r\nHost: x\r\nContent-Type: {OCI_MANIFEST}\r\n"
        f"Content-Length: {len(IMAGE.manifest)}\r\nConnection: close\r\n\r\n"
    ).encode()
    await raw(cluster.proxy, head + IMAGE.manifest[:-10], end=True)

    await is_answered(cluster.proxy, Bad("GET", f"/v2/{REPOSITORY}/manifests/cut", 404, "MANIFEST_UNKNOWN"))


HEADERS: dict[str, tuple[bytes, bytes]] = {
    "a URL of 10 KiB": (b"GET /v2/" + b"a" * 10_240 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"400|414"),
    "a header of 20 KiB": (b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 20_480 + b"\r\n\r\n", b"400|431"),
    "a header of many fields": (
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        + b"".join(b"X-%d: %s\r\n" % (number, b"v" * 500) for number in range(60))
        + b"\r\n",
        b"431",
    ),
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"400"),
    "a header that stays unfinished": (b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"408"),
    "two lengths": (
        f"POST {UPLOADS} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello".encode(),
        b"400",
    ),
    "a length and chunks": (
        f"POST {UPLOADS} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n".encode()
        + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"400",
    ),
    "a negative length": (f"POST {UPLOADS} HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n".encode(), b"400"),
}


@pytest.mark.parametrize("member", ["proxy-1", "agent-1"])
@pytest.mark.parametrize("header", HEADERS)
async def test_headers_that_are_too_large_too_slow_or_nonsense(cluster: DevCluster, member: str, header: str) -> None:
    sent, statuses = HEADERS[header]

    answer = await raw(cluster[member].http, sent)

    first = answer.split(b"\r\n")[0]
    assert first.split()[1] in statuses.split(b"|"), first
    assert b"Traceback" not in answer


async def test_a_header_that_trickles_in_is_ended_and_keeps_nobody_waiting(cluster: DevCluster) -> None:
    slow = [asyncio.create_task(trickled(cluster.agent)) for _ in range(50)]
    async with client(cluster.agent) as session, session.get("/v2/") as answer:
        assert answer.status == 200
    for answered in await asyncio.gather(*slow):
        assert answered.startswith(b"HTTP/1.1 408 ") or answered == b""


async def test_sha512_is_as_good_as_sha256(cluster: DevCluster) -> None:
    data = seeded_bytes(100_000, next(_seeds))
    digest = Digest.of(data, Algorithm.SHA512)
    async with client(cluster.proxy) as session, session.post(f"{UPLOADS}?digest={digest}", data=data) as answer:
        assert answer.status == 201
    for registry in (cluster.proxy, cluster.agent):
        assert await pull(registry, digest) == right(digest, len(data))


async def is_answered(registry: Address, bad: Bad) -> None:
    url = URL(f"http://{registry}{bad.path}", encoded=True)
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
        session.request(bad.method, url, headers=bad.headers, data=bad.body) as answer,
    ):
        body = await answer.read()
    assert answer.status == bad.status, (answer.status, body)
    if bad.method != "HEAD":
        assert answer.content_type == "application/json"
        errors = json.loads(body)["errors"]
        assert {each["code"] for each in errors} == {bad.code}
        assert all(set(each) == {"code", "message", "detail"} and each["message"] for each in errors)


async def begun(session: aiohttp.ClientSession) -> URL:
    async with session.post(UPLOADS) as answer:
        assert answer.status == 202
        return URL(answer.headers["Location"], encoded=True)


async def chunk(session: aiohttp.ClientSession, place: URL, data: bytes, span: str) -> tuple[int, str, str]:
    """Send a chunk. Returns: status, the Range that the answer tells, the first error code."""
    async with session.patch(place, data=data, headers={"Content-Range": span}) as answer:
        code = await code_of(answer) if answer.status >= 400 else ""
        return answer.status, answer.headers.get("Range", ""), code


async def code_of(answer: aiohttp.ClientResponse) -> str:
    code: str = (await answer.json())["errors"][0]["code"]
    return code


async def raw(address: Address, data: bytes, *, end: bool = False) -> bytes:
    """What comes back for these bytes until the connection closes."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(data)
        if end:
            writer.write_eof()
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


async def trickled(address: Address) -> bytes:
    """A request header, one byte at a time; what comes back."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    answer = asyncio.create_task(reader.read())
    try:
        async with asyncio.timeout(20):
            for byte in b"GET /v2/ HTTP/1.1\r\nX: " + b"y" * 10_000:
                if (await asyncio.wait([answer], timeout=0.05))[0]:
                    break
                writer.write(bytes([byte]))
            return await answer
    except ConnectionResetError:  # it was closed with bytes of ours unread, and then the answer may be lost
        return b""
    finally:
        writer.close()
