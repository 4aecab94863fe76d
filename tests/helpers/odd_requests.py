"""Requests that nobody would send: from the registry's own grammar, from what is close to it, and from garbage."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from hypothesis import strategies as st
from tests.helpers.registry import an_image, an_index

from kraken.core.digest import Algorithm, Digest
from kraken.core.pieces import KIB

IMAGE: Final = an_image(b"a layer", b"")
LAYER: Final = Digest.of(b"a layer")
LAYER_512: Final = Digest.of(b"a layer", Algorithm.SHA512)
ABSENT: Final = Digest.of(b"never pushed")

DIGESTS: Final = (
    str(LAYER), str(LAYER), str(LAYER_512), str(IMAGE.digest), str(ABSENT), str(Digest.of(b"")), "sha256:abc", "x",
    f"md5:{'0' * 32}", f"sha512:{'0' * 64}", f"sha256:{'A' * 64}", "sha256%3A" + LAYER.encoded, ":", "sha256:",
)  # fmt: skip
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
ODD_METHODS: Final = ("OPTIONS", "TRACE", "CONNECT", "BREW", "get", "PRI", "M" * 40)
COMPONENTS: Final = (
    "team", "app", "team/app", "blobs", "uploads", "manifests", "tags", "list", "referrers", "_catalog", "v2", "latest",
    "0" * 12 + "4" + "0" * 3 + "8" + "0" * 15, "UPPER", "..", ".", "", "-", "a" * 300, "%2e%2e", "%2F", "%00", "%ff",
    "%", "%zz", "%C3%A4", "a%20b", "a:b", "sha256:abc", "md5:00", "sha256:", "sha256%3A" + LAYER.encoded, "<session>",
    "%0A", *DIGESTS,
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

    @property
    def names_session(self) -> bool:
        """Whether it is about an upload that has to be begun before."""
        return b"<session>" in self.data

    def pieces(self, session: bytes) -> Iterator[bytes]:
        data = self.data.replace(b"<session>", session)
        places = [0, *sorted(cut % (len(data) + 1) for cut in self.cuts), len(data)]
        return (data[start:stop] for start, stop in itertools.pairwise(places) if start < stop)


CUTS: Final = st.lists(st.integers(0, 2**20), max_size=4).map(tuple)
GARBAGE: Final = st.text(st.characters(max_codepoint=255), max_size=12)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What there is to be asked: a path with names to be drawn, and what goes with it."""

    path: str
    methods: tuple[str, ...]
    keys: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()


READ: Final = ("GET", "HEAD")
ENDPOINTS: Final = (
    Endpoint("/v2/<name>/tags/list", ("GET",), ("n", "last")),
    Endpoint("/v2/_catalog", ("GET",), ("n", "last")),
    Endpoint("/v2/<name>/referrers/<digest>", ("GET",), ("artifactType", "last", "n")),
    Endpoint("/v2/<name>/blobs/<digest>", (*READ, "DELETE"), (), ("Range", "If-Range", "If-None-Match")),
    Endpoint("/v2/<name>/manifests/<digest>", (*READ, "PUT", "DELETE"), ("tag",), ("Content-Type", "If-None-Match")),
    Endpoint("/v2/<name>/manifests/<tag>", (*READ, "PUT", "DELETE"), ("tag",), ("Content-Type", "Accept")),
    Endpoint("/v2/<name>/blobs/uploads/", ("POST",), ("digest", "mount", "from", "digest-algorithm")),
    Endpoint("<session>", ("PATCH", "PUT", "GET", "DELETE"), ("digest",), ("Content-Range", "Expect")),
)  # fmt: skip
NAMES: Final = {
    "name": ("team/app", "team/app", "team/app", "team/new", "UPPER", "a//b", "x/blobs/uploads", "%ff"),
    "tag": ("latest", "latest", "other", ".bad", "t" * 129, "%00", "%0A"),
    "digest": DIGESTS,
}
OF_KEY: Final = {
    "n": ("0", "1", "2", "-1", "x", "", "1.5", "9" * 30, "%D9%A1", "1_0", "%2B1"),
    "last": ("a", "latest", "zz", "%ff", "%00", "%ED%A0%80", "a" * 2000, *DIGESTS),
    "digest": DIGESTS,
    "mount": DIGESTS,
    "from": ("team/app", "team%2Fapp", "nobody", "UPPER", ".."),
    "tag": ("a", "b", ".bad", "t" * 129),
    "artifactType": ("application/spdx%2Bjson", "%0d%0a", "x" * 300),
    "digest-algorithm": ("sha256", "sha512", "md5", ""),
}


@st.composite
def asked_for(draw: st.DrawFn) -> tuple[str, str, list[str]]:
    """A method, a target and header lines that belong together, nearly always."""
    endpoint = draw(st.sampled_from(ENDPOINTS))
    path = re.sub(r"<(name|tag|digest)>", lambda match: draw(st.sampled_from(NAMES[match[1]])), endpoint.path)
    pairs = [(key, draw(st.sampled_from(OF_KEY[key]))) for key in endpoint.keys if draw(st.booleans())]
    query = "&".join(f"{key}={text}" for key, text in pairs)
    names = [name for name in endpoint.headers if draw(st.booleans())]
    lines = [f"{name}: {draw(st.sampled_from(HEADERS[name]))}" for name in names]
    method = draw(st.sampled_from(endpoint.methods * 4 + METHODS))
    return method, f"{path}?{query}" if query else path, lines


@st.composite
def strange(draw: st.DrawFn) -> tuple[str, str, list[str]]:
    """A method, a target and header lines that somebody threw together."""
    components = st.sampled_from(COMPONENTS) | GARBAGE.map(quote)
    path = draw(
        st.sampled_from(PATHS)
        | st.lists(components, min_size=1, max_size=6).map(lambda parts: "/v2/" + "/".join(parts))
        | st.sampled_from(("*", "http://x/v2/", "http://[::1/v2/", "x:80", "//v2/", "/v2?", "?", "#"))
    )
    pairs = st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES) | GARBAGE.map(quote))
    query = "&".join(f"{key}={text}" for key, text in draw(st.lists(pairs, max_size=3)))
    names = draw(st.lists(st.sampled_from(sorted(HEADERS)), max_size=3))
    lines = [f"{name}: {draw(st.sampled_from(HEADERS[name]) | GARBAGE.map(_one_line))}" for name in names]
    return draw(st.sampled_from(METHODS + ODD_METHODS)), f"{path}?{query}" if query else path, lines


@st.composite
def bodies(draw: st.DrawFn) -> tuple[list[str], bytes]:
    """A body, and the header lines that announce it; not always rightly."""
    body = draw(st.sampled_from(BODIES) | st.binary(max_size=40))
    match draw(st.sampled_from(("length", "length", "length", "chunked", "short", "long", "broken", "unannounced"))):
        case "length":
            return [f"Content-Length: {len(body)}"], body
        case "chunked":
            return ["Transfer-Encoding: chunked"], _in_chunks(body)
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
    method, target, headers = draw(st.one_of(asked_for(), asked_for(), strange()))
    lines = [f"{method} {target} HTTP/1.1", "Host: registry", *headers]
    if draw(st.integers(0, 9)):
        lines.append("Connection: close")
    announced, body = draw(bodies()) if method in ("POST", "PUT", "PATCH") or not draw(st.integers(0, 5)) else ([], b"")
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


def _one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ")


def _in_chunks(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
