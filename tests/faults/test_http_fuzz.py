"""Requests that nobody would send, at proxy and agent: each is answered in good form, or its connection is closed.

What is sent is drawn from the registry's own grammar, from what is close to it, and from garbage, and arrives in pieces
of any size. The same requests are drawn in each run; `FUZZ_REQUESTS=20000 pytest tests/faults/test_http_fuzz.py` draws
so many others, and a failure among those tells how to draw it again.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from tests.helpers.dev_cluster import DevCluster, dev_cluster, fetched
from tests.helpers.pulling import client
from tests.helpers.pushing import push_blob, push_image
from tests.helpers.registry import an_image, an_index
from tests.helpers.tools import wait_until

from kraken.cli.layout import Counts
from kraken.core.digest import Algorithm, Digest
from kraken.core.peers import Address
from kraken.core.pieces import KIB
from kraken.oci.errors import Code

REQUESTS: Final = int(os.environ.get("FUZZ_REQUESTS", "0"))
FUZZ: Final = settings(
    max_examples=REQUESTS or 250,
    derandomize=not REQUESTS,
    print_blob=True,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
WITHOUT_END: Final = pytest.mark.timeout(0 if REQUESTS else 120)
NO_REQUEST: Final = (400, 408, 414, 431)
"""What is said to bytes that are no HTTP, or too many or too slow to become a request."""

_SECONDS: Final = 20.0

COUNTS: Final = Counts(origins=2, trackers=1, indexes=1, proxies=1, agents=1)
IMPATIENT: Final = {"http": {"header_seconds": 0.1, "idle_seconds": 0.1, "keepalive_seconds": 0.1}}
"""What stays unfinished is ended soon, so that a test of it is soon over."""

IMAGE: Final = an_image(b"a layer", b"")
LAYER: Final = Digest.of(b"a layer")
LAYER_512: Final = Digest.of(b"a layer", Algorithm.SHA512)
ABSENT: Final = Digest.of(b"never pushed")

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
ODD_METHODS: Final = ("OPTIONS", "TRACE", "CONNECT", "BREW", "get", "PRI", "M" * 40)
COMPONENTS: Final = (
    "team", "app", "team/app", "blobs", "uploads", "manifests", "tags", "list", "referrers", "_catalog", "v2", "latest",
    "0" * 12 + "4" + "0" * 3 + "8" + "0" * 15, "UPPER", "..", ".", "", "-", "a" * 300, "%2e%2e", "%2F", "%00", "%ff",
    "%", "%zz", "%C3%A4", "a%20b", "a:b", "sha256:abc", "md5:00", "sha256:", "sha256%3A" + LAYER.encoded, "<session>",
    *map(str, (LAYER, LAYER_512, ABSENT, IMAGE.digest)),
)  # fmt: skip
PATHS: Final = (
    "/v2/", "/v2", "/v2/_catalog", "/v2/team/app/tags/list", "/v2/team/app/blobs/uploads/", "<session>",
    "/v2/team/app/manifests/latest", "/v2/team/app/manifests/other", "/v2/team/new/manifests/x",
    f"/v2/team/app/manifests/{IMAGE.digest}", f"/v2/team/app/blobs/{LAYER}", f"/v2/team/app/blobs/{LAYER_512}",
    f"/v2/team/app/blobs/{ABSENT}", f"/v2/team/app/referrers/{IMAGE.digest}", "/healthz", "/readyz", "/metrics", "/",
)  # fmt: skip
KEYS: Final = ("n", "last", "digest", "mount", "from", "tag", "artifactType", "digest-algorithm", "ns", "offset", "")
VALUES: Final = (
    "", "0", "1", "-1", "2.5", "9" * 30, "%D9%A1", "%00", "%ff", "%ED%A0%80", "%0d%0aX:%20y", "team/app", "team%2Fapp",
    "UPPER", "..", "latest", ".bad", "t" * 129, "sha512", "md5", "sha256:abc", "application/spdx%2Bjson", "docker.io",
    "a.b:5000", "localhost", "[::1]", "a" * 400, *map(str, (LAYER, LAYER_512, ABSENT, Digest.of(b""))),
)  # fmt: skip
HEADERS: Final = {
    "Range": ("bytes=0-", "bytes=-1", "bytes=5-1", "bytes=", "bytes=0-1,3-4", "lines=1-", "bytes=" + "9" * 40 + "-"),
    "If-Range": (f'"{LAYER}"', "x"),
    "If-None-Match": (f'"{LAYER}"', "*", 'W/"x", y', ","),
    "If-Modified-Since": ("yesterday", "Thu, 01 Jan 1970 00:00:00 GMT"),
    "Content-Range": ("0-6", "0-0", "7-9", "bytes 0-6/7", "6-0", "x", "0-" + "9" * 30, "9" * 18 + "-" + "9" * 19),
    "Content-Type": ("application/vnd.oci.image.manifest.v1+json", "text/plain; charset=\u00e4", "", ";", "a" * 500),
    "Content-Encoding": ("gzip", "br", "x"),
    "Accept": ("*/*", "text/html", "application/vnd.oci.image.index.v1+json;q=x"),
    "Accept-Encoding": ("gzip", "zstd, identity;q=0"),
    "Authorization": ("Basic eDp5", "Bearer x", "\u00ff", ""),
    "Connection": ("keep-alive", "close", "upgrade", "Range"),
    "Upgrade": ("websocket", "h2c", "TLS/1.0"),
    "Expect": ("100-continue", "something"),
    "Host": ("", "a b", "[::1]:99999", "x" * 300),
    "Transfer-Encoding": ("chunked", "gzip, chunked", "identity", "x"),
    "Content-Length": ("0", "3", "-1", "x", "9" * 20, "7, 7"),
    "X-Forwarded-Proto": ("https", "x"),
    "Trailer": ("X",),
    "Cookie": ("a" * 9000,),
    "X-Kraken": ("\u00e9" * 10, "\t"),
}  # fmt: skip
BODIES: Final = (
    b"", b"a layer", b"{}", b"[]", b"null", b'{"schemaVersion":2}', b"[" * 5000, b'{"a":' * 500, b"\xff\xfe\x00",
    IMAGE.manifest, IMAGE.manifest[:-2], an_index(IMAGE).manifest, b"x" * (300 * KIB),
    IMAGE.manifest.replace(b'"size": 7', b'"size": -7'), IMAGE.manifest.replace(b"sha256", b"sha999"),
    IMAGE.manifest.replace(b"vnd.oci.image.manifest", b"\xed\xa0\x80"),
    b'{"schemaVersion":2,"mediaType":"\\ud800","config":{"digest":"","size":1e99}}',
)  # fmt: skip
BROKEN_CHUNKS: Final = (
    b"3\r\nabc\r\n0\r\n\r\n",
    b"3\r\nab",
    b"zz\r\n",
    b"-1\r\n\r\n",
    b"ffffffffffffffffff\r\nx",
    b"3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n",
)


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent on one connection, in pieces cut at `cuts`. `method` is that of a single request, else empty."""

    data: bytes
    cuts: tuple[int, ...]
    method: str = ""

    def pieces(self, session: bytes) -> Iterator[bytes]:
        data = self.data.replace(b"<session>", session)
        places = [0, *sorted(cut % (len(data) + 1) for cut in self.cuts), len(data)]
        return (data[start:stop] for start, stop in itertools.pairwise(places) if start < stop)


CUTS: Final = st.lists(st.integers(0, 2**20), max_size=4).map(tuple)
GARBAGE: Final = st.text(st.characters(max_codepoint=255), max_size=12)


@st.composite
def targets(draw: st.DrawFn) -> str:
    """A request target: one that there is, one put together, or nonsense."""
    components = st.sampled_from(COMPONENTS) | GARBAGE.map(quote)
    path = draw(
        st.sampled_from(PATHS)
        | st.lists(components, min_size=1, max_size=6).map(lambda parts: "/v2/" + "/".join(parts))
        | st.sampled_from(("*", "http://x/v2/", "http://[::1/v2/", "x:80", "//v2/", "/v2?", "?", "#"))
    )
    pairs = st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES) | GARBAGE.map(quote))
    query = "&".join(f"{key}={value}" for key, value in draw(st.lists(pairs, max_size=3)))
    return f"{path}?{query}" if query else path


@st.composite
def bodies(draw: st.DrawFn) -> tuple[list[str], bytes]:
    """A body, and the header lines that announce it; not always rightly."""
    body = draw(st.sampled_from(BODIES) | st.binary(max_size=40))
    match draw(st.sampled_from(("length", "length", "length", "chunked", "short", "long", "broken", "unannounced"))):
        case "length":
            return [f"Content-Length: {len(body)}"], body
        case "chunked":
            return ["Transfer-Encoding: chunked"], b"%x\r\n%b\r\n0\r\n\r\n" % (
                len(body),
                body,
            ) if body else b"0\r\n\r\n"
        case "short":
            return [f"Content-Length: {len(body) + 5}"], body
        case "long":
            return [f"Content-Length: {max(len(body) - 5, 0)}"], body
        case "broken":
            return ["Transfer-Encoding: chunked"], draw(st.sampled_from(BROKEN_CHUNKS))
        case _:
            return [], body


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """One request."""
    method = draw(st.sampled_from(METHODS) | st.sampled_from(METHODS) | st.sampled_from(ODD_METHODS))
    lines = [f"{method} {draw(targets())} HTTP/1.1", "Host: registry"]
    if draw(st.integers(0, 7)):
        lines.append("Connection: close")
    names = draw(st.lists(st.sampled_from(sorted(HEADERS)), max_size=3))
    lines += [f"{name}: {draw(st.sampled_from(HEADERS[name]) | GARBAGE.map(_one_line))}" for name in names]
    announced, body = draw(bodies()) if draw(st.booleans()) else ([], b"")
    head = "\r\n".join([*lines, *announced, "", ""]).encode("latin-1")
    return Request(head + body, draw(CUTS), method)


@st.composite
def connections(draw: st.DrawFn) -> Request:
    """What is no single request: bytes, several requests in a row, or one with some bytes changed."""
    several = b"".join(it.data for it in draw(st.lists(requests(), min_size=1, max_size=3)))
    match draw(st.sampled_from(("bytes", "several", "changed", "cut off"))):
        case "bytes":
            return Request(draw(st.binary(max_size=200)), draw(CUTS))
        case "several":
            return Request(several, draw(CUTS))
        case "cut off":
            return Request(several[: draw(st.integers(0, len(several)))], draw(CUTS))
        case _:
            changed = bytearray(several)
            for at, byte in draw(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4)):
                changed[at % len(changed)] = byte
            return Request(bytes(changed), draw(CUTS))


class Target:
    """A cluster that something can be found in, and what its log has said since it was last looked at."""

    def __init__(self, cluster: DevCluster) -> None:
        self.cluster = cluster
        self.session = ""
        self._read = 0

    async def fill(self) -> None:
        """Put there what requests name, and begin an upload."""
        async with client(self.cluster.proxy) as session:
            await push_image(session, "team/app", IMAGE, "latest")
            await push_blob(session, "team/app", b"a layer", Algorithm.SHA512)
            async with session.post("/v2/team/app/blobs/uploads/") as answer:
                self.session = answer.headers["Location"]

    def new_lines(self) -> list[str]:
        with self.cluster.log.open("rb") as log:
            log.seek(self._read)
            data = log.read()
        self._read += len(data)
        return data.decode(errors="replace").splitlines()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """It is as healthy afterwards as it was before."""
    data = tmp_path_factory.mktemp("fuzz")
    with dev_cluster(data, COUNTS, settings={"proxy": IMPATIENT, "agent": IMPATIENT}) as cluster:
        filled = Target(cluster)
        asyncio.run(filled.fill())
        yield filled
        assert cluster.crashes() == 0
        for name in ("proxy-1", "agent-1"):
            assert json.loads(fetched(cluster[name].http, "/readyz")) == {"ready": True}
            # The one that asks is open as well.
            wait_until(lambda name=name: cluster.metric(name, "kraken_http_connections") == 1, "all are closed")  # type: ignore[misc]
        asyncio.run(filled.fill())
        assert asyncio.run(pull_image(cluster.agent)) == IMAGE.manifest


async def pull_image(registry: Address) -> bytes:
    async with client(registry) as session, session.get("/v2/team/app/manifests/latest") as answer:
        return await answer.read()


@pytest.mark.parametrize("member", ["proxy-1", "agent-1"])
@WITHOUT_END
def test_any_request_is_answered_in_good_form(target: Target, member: str) -> None:
    @FUZZ
    @given(requests())
    def fuzz(request: Request) -> None:
        answer = exchange(target, member, request)
        check_form(request, answer)

    fuzz()


@pytest.mark.parametrize("member", ["proxy-1", "agent-1"])
@WITHOUT_END
def test_any_bytes_leave_the_registry_well(target: Target, member: str) -> None:
    @FUZZ
    @given(connections())
    def fuzz(request: Request) -> None:
        exchange(target, member, request)

    fuzz()


def exchange(target: Target, member: str, request: Request) -> bytes:
    """Send what is to be sent. Returns: all that came back until the connection was closed."""
    target.new_lines()
    answer = b""
    with socket.create_connection(_pair(target.cluster[member].http), timeout=_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(BrokenPipeError, ConnectionResetError):  # closed already: what came before counts
            for piece in request.pieces(target.session.encode()):
                connection.sendall(piece)
            while received := connection.recv(1 << 16):
                answer += received
    note(f"{member} answered {answer[:2000]!r}")
    statuses = [int(status) for status in re.findall(rb"(?:^|\r\n|\}|\n)HTTP/1\.[01] (\d{3}) ", answer)]
    assert all(status < 500 or status == 503 for status in statuses), statuses
    assert b"Traceback" not in answer
    assert b".py" not in answer
    wrong = [line for line in target.new_lines() if "Traceback" in line or "request_failed" in line]
    assert not wrong, "\n".join(wrong)
    return answer


def check_form(request: Request, answer: bytes) -> None:
    """An answer is whole, and an error under /v2/ is in the registry's form.

    A request that is not HTTP, or is too large or too slow to become one, is nothing that a registry was asked: then
    the connection is closed.
    """
    answer = re.sub(rb"^HTTP/1\.1 100 Continue\r\n\r\n", b"", answer)
    if not answer:
        return
    head, end, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    assert end, head
    status = int(first.split()[1])
    headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    if "docker-distribution-api-version" not in headers:
        is_closed = first.startswith("HTTP/1.0 ") or headers.get("connection") == "close"
        assert (is_closed and status in NO_REQUEST) or not re.match(rb"(?!CONNECT )\S+ /v2[/? ]", request.data), head
        return
    if request.method == "HEAD" or status in (204, 304):
        return
    length = int(headers["content-length"])
    assert len(body) >= length
    if status in (400, 401, 403, 404, 405, 413, 414, 416, 503):
        assert headers["content-type"] == "application/json"
        errors = json.loads(body[:length])["errors"]
        assert errors
        for error in errors:
            assert set(error) == {"code", "message", "detail"}
            assert error["code"] in Code.__members__
    else:
        assert status in (200, 201, 202, 206, 431), head


def _one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ")


def _pair(address: Address) -> tuple[str, int]:
    return address.host, address.port
