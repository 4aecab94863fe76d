"""Requests that can be read in one way only; and everything else, of which nothing is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.runtime.plain_request import MAX_HEAD_BYTES, NotYet, PlainReader, is_one_head

READER = PlainReader("/announce", max_body_bytes=1000)
LINE = b"POST /announce HTTP/1.1\r\n"

bodies = st.binary(max_size=1000)


def a_request(body: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([LINE + b"Host: t", b"Content-Length: %d" % len(body), *fields, b"", b""]) + body


def with_fields(*fields: bytes) -> bytes:
    return LINE + b"\r\n".join([*fields, b"", b""])


@given(bodies, st.binary(max_size=50))
def test_a_request_is_read_whatever_stands_behind_it(body: bytes, more: bytes) -> None:
    data = a_request(body, b"Accept: */*")

    assert READER.read(data + more) == (body, len(data), True)


@given(bodies, st.data())
def test_every_beginning_of_a_request_may_become_one(body: bytes, data: st.DataObject) -> None:
    request = a_request(body)
    length = data.draw(st.integers(0, len(request) - 1))

    assert READER.read(request[:length]) is NotYet.INCOMPLETE


@given(bodies, st.binary(max_size=50), st.data())
def test_a_head_like_the_one_before_is_read_like_the_first(body: bytes, more: bytes, data: st.DataObject) -> None:
    reader = PlainReader("/announce", max_body_bytes=1000)
    request, closing = a_request(body), a_request(body, b"Connection: close")
    cut = data.draw(st.integers(1, len(request) - 1))

    assert reader.read(request) == (body, len(request), True)
    assert reader.read(request[:cut]) is NotYet.INCOMPLETE
    assert reader.read(request + more) == (body, len(request), True)
    for _ in range(2):
        assert reader.read(closing + more) == (body, len(closing), False)
    assert reader.read(request) == (body, len(request), True)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_are_not_ours(data: bytes) -> None:
    for prefix in (b"", LINE, LINE + b"Host: t\r\nContent-Length: 3\r\n"):
        found = READER.read(prefix + data)

        if not isinstance(found, NotYet):
            body, length, _ = found
            assert (prefix + data)[:length].endswith(b"\r\n\r\n" + body)


@pytest.mark.parametrize(
    ("value", "stays_open"), [(b"keep-alive", True), (b"Keep-Alive", True), (b" close ", False), (b"CLOSE", False)]
)
def test_the_connection_stays_open_unless_it_is_told_to_close(value: bytes, stays_open: bool) -> None:
    request = a_request(b"x", b"connection:" + value)

    assert READER.read(request) == (b"x", len(request), stays_open)


@pytest.mark.parametrize(
    "data",
    [
        b"GET /announce HTTP/1.1\r\n",
        b"POST /announces HTTP/1.1\r\n",
        b"POST /announce?x=1 HTTP/1.1\r\n",
        b"POST /announce HTTP/1.0\r\n",
        b"post /announce HTTP/1.1\r\n",
        b"\r\n" + LINE,
        with_fields(b"Host: t"),
        with_fields(b"Content-Length: 1"),
        with_fields(b"Host:", b"Content-Length: 1"),
        with_fields(b"Host: t", b"Host: u", b"Content-Length: 1"),
        with_fields(b"Host: t", b"Content-Length: 1", b"content-length: 1"),
        with_fields(b"Host: t", b"Content-Length: -1"),
        with_fields(b"Host: t", b"Content-Length: +1"),
        with_fields(b"Host: t", b"Content-Length: 1_0"),
        with_fields(b"Host: t", b"Content-Length: 1, 1"),
        with_fields(b"Host: t", b"Content-Length: 0x1"),
        with_fields(b"Host: t", b"Content-Length: \xb2"),
        with_fields(b"Host: t", b"Content-Length: "),
        with_fields(b"Host: t", b"Content-Length: 1001"),
        with_fields(b"Host: t", b"Content-Length: " + b"0" * 9 + b"1"),
        with_fields(b"Host: t", b"Content-Length: 1", b"Transfer-Encoding: chunked"),
        with_fields(b"Host: t", b"Content-Length: 1", b"Transfer-Encoding : chunked"),
        with_fields(b"Host: t", b"Content-Length: 1", b"Expect: 100-continue"),
        with_fields(b"Host: t", b"Content-Length: 1", b"Upgrade: h2c"),
        with_fields(b"Host: t", b"Content-Length: 1", b"Connection: upgrade"),
        with_fields(b"Host: t", b"Content-Length: 1", b"Connection: close, keep-alive"),
        with_fields(b"Host: t", b"Content-Length: 1", b"Content-Encoding: gzip"),
        with_fields(b"Host: t", b" Content-Length: 1"),
        with_fields(b"Host: t", b"X: a", b" folded", b"Content-Length: 1"),
        with_fields(b"Host: t", b"X: a\nContent-Length: 5", b"Content-Length: 1"),
        with_fields(b"Host: t", b"X: a\rb", b"Content-Length: 1"),
        with_fields(b"Host: t", b"X: \x00", b"Content-Length: 1"),
        with_fields(b"Host: t", b"no colon", b"Content-Length: 1"),
        with_fields(b"Host: t", b": nameless", b"Content-Length: 1"),
    ],
)
def test_what_is_not_plain_is_left_to_others(data: bytes) -> None:
    assert READER.read(data + b"x" * 1001) is NotYet.OTHER


def test_a_head_has_its_limit_whether_it_ends_or_not() -> None:
    largest = a_request(b"", b"X: " + b"x" * (MAX_HEAD_BYTES - len(a_request(b"", b"X: "))))

    assert READER.read(largest) == (b"", MAX_HEAD_BYTES, True)
    assert READER.read(a_request(b"", b"X: " + b"x" * MAX_HEAD_BYTES)) is NotYet.OTHER
    assert READER.read(largest[:-1].replace(b"\r\n\r", b"xxx")) is NotYet.INCOMPLETE
    assert READER.read(largest.replace(b"\r\n\r\n", b"xxxx")) is NotYet.OTHER


@pytest.mark.parametrize("line", [b"GET /metainfo/sha256:00?content=1 HTTP/1.1", b"HEAD /healthz HTTP/1.1"])
def test_a_request_without_a_body_ends_with_its_head(line: bytes) -> None:
    head = line + b"\r\nHost: t\r\nAccept: */*\r\n\r\n"

    assert is_one_head(head)
    assert not any(is_one_head(head[:length]) for length in range(len(head)))
    assert not is_one_head(head + b"G")
    assert not is_one_head(head + head)


@pytest.mark.parametrize(
    "data",
    [
        b"POST /x HTTP/1.1\r\nHost: t\r\n\r\n",
        b"GET /x HTTP/1.0\r\nHost: t\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\n\r\n",
        b"GET /x y HTTP/1.1\r\nHost: t\r\n\r\n",
        b"GET /x HTTP/1.1\r\n\r\n",
    ],
)
def test_where_others_end_is_not_known(data: bytes) -> None:
    assert not is_one_head(data)
