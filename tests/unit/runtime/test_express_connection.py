"""A connection of the express lane, between bytes that come as they like and a route that answers when it likes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from kraken.core.errors import Invalid
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.runtime.web_express import Answer, ExpressLane, ExpressRoute
from kraken.runtime.web_guard import ConnectionGuard, Limits

LIMITS = Limits(
    max_connections=10,
    header_seconds=10.0,
    idle_seconds=10.0,
    keepalive_seconds=60.0,
    stalled_reader_seconds=60.0,
    max_url_bytes=1000,
    max_header_bytes=1000,
    read_buffer_bytes=2**16,
)


class Wire(asyncio.Transport):
    """The server's end of a connection; it notes what is done to it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("10.0.0.7", 4711)})
        self.sent = b""
        self.closed = False
        self.reading = True
        self.refuses = False
        self.protocol: asyncio.Protocol | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data
        if self.refuses and self.protocol is not None:
            self.protocol.pause_writing()

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Site:
    """A lane whose route echoes: at once, or when the test says so; a body `bad` it refuses, with `bug` it breaks."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.at_once = at_once
        self.asked: list[bytes] = []
        self.waiting: list[Callable[[], None]] = []
        self.metrics = Metrics("tracker", "test")
        guard = ConnectionGuard(web.Server(self._aiohttp), LIMITS, get_logger("tracker", "test"), self.metrics)
        self.lane = ExpressLane(ExpressRoute("/echo", "text/plain", 1000, self._handle), guard)
        self.wire = Wire()
        self.connection = self.connect(self.wire)

    def connect(self, wire: Wire) -> asyncio.Protocol:
        connection = self.lane()
        assert isinstance(connection, asyncio.Protocol)
        connection.connection_made(wire)
        wire.protocol = connection
        return connection

    def receive(self, data: bytes) -> None:
        self.connection.data_received(data)

    def requests(self, result: str) -> float:
        return self.metrics.value("kraken_http_requests_total", route="/echo", method="POST", status=result)

    def _handle(self, body: bytes, remote: str, answer: Answer) -> None:
        assert remote == "10.0.0.7"
        self.asked.append(body)
        if body == b"bad":
            raise Invalid("this is bad")
        if body == b"bug":
            raise RuntimeError("a secret")
        self.waiting.append(lambda: answer(b"<%b>" % body))
        if self.at_once:
            self.waiting.pop()()

    async def _aiohttp(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"aiohttp: " + await request.read())


def a_request(body: bytes, *fields: bytes) -> bytes:
    head = (b"POST /echo HTTP/1.1", b"Host: t", b"Content-Length: %d" % len(body), *fields, b"", b"")
    return b"\r\n".join(head) + body


def answers(sent: bytes) -> list[tuple[bytes, bytes]]:
    """Status and body of each answer, in their order; they must fill what was sent."""
    found = []
    while sent:
        head, _, rest = sent.partition(b"\r\n\r\n")
        status, *fields = head.split(b"\r\n")
        length = next(int(field.partition(b":")[2]) for field in fields if field.startswith(b"Content-Length:"))
        found.append((status.split(b" ")[1], rest[:length]))
        assert len(rest) >= length
        sent = rest[length:]
    return found


async def quiet(site: Site) -> None:
    """Let aiohttp finish what it was given."""
    for _ in range(20):
        await asyncio.sleep(0)


GET = b"GET /other HTTP/1.1\r\nHost: t\r\n\r\n"


async def test_a_request_is_answered_and_counted() -> None:
    site = Site()
    site.receive(a_request(b"a"))

    head, _, body = site.wire.sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nServer: kraken\r\nDate: ")
    assert head.endswith(b"GMT\r\nContent-Type: text/plain\r\nContent-Length: 3")
    assert body == b"<a>"
    assert not site.wire.closed
    assert site.requests("200") == 1
    assert site.metrics.value("kraken_http_request_seconds_count", route="/echo") == 1
    assert site.metrics.value("kraken_http_connections") == 1


@pytest.mark.parametrize("at_once", [True, False])
@given(st.lists(st.binary(max_size=20), max_size=6), st.data())
async def test_however_the_bytes_come_the_requests_are_the_same(
    at_once: bool, bodies: list[bytes], data: st.DataObject
) -> None:
    bodies = [b"ok" + body for body in bodies]
    stream = b"".join(map(a_request, bodies))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    site = Site(at_once=at_once)
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        if site.wire.reading and begin < end:
            site.receive(stream[begin:end])
        else:
            assert begin == end or site.waiting
            while site.waiting:
                site.waiting.pop()()
            if begin < end:
                site.receive(stream[begin:end])
    while site.waiting:
        site.waiting.pop()()

    assert site.asked == bodies
    assert answers(site.wire.sent) == [(b"200", b"<%b>" % body) for body in bodies]
    assert site.wire.reading
    assert not site.wire.closed


@given(st.binary(max_size=200), st.binary(max_size=200))
async def test_garbage_is_answered_with_4xx_or_closed_and_raises_nothing(one: bytes, two: bytes) -> None:
    site = Site()
    for data in (one, two):
        if data and not site.wire.closed:
            site.receive(data)
    await quiet(site)

    assert all(status.startswith(b"4") for status, _ in answers(site.wire.sent))
    site.connection.connection_lost(None)


async def test_the_next_request_waits_until_the_one_before_is_answered_and_no_more_is_read() -> None:
    site = Site(at_once=False)
    site.receive(a_request(b"1") + a_request(b"2")[:30])

    assert site.asked == [b"1"]
    assert not site.wire.reading
    site.waiting.pop()()
    assert site.wire.reading
    site.receive(a_request(b"2")[30:])
    assert site.asked == [b"1", b"2"]


async def test_a_thousand_requests_at_once_are_no_deep_recursion() -> None:
    site = Site()
    site.receive(a_request(b"x") * 1000)

    assert len(answers(site.wire.sent)) == 1000


async def test_errors_are_answered_as_everywhere_and_bugs_tell_nothing() -> None:
    site = Site()
    site.receive(a_request(b"bad") + a_request(b"bug") + a_request(b"fine"))

    (bad, why), (bug, nothing), fine = answers(site.wire.sent)
    assert (bad, why) == (b"400", b'{"error":"Invalid","message":"this is bad"}')
    assert bug == b"500"
    assert b"secret" not in nothing
    assert fine == (b"200", b"<fine>")
    assert [site.requests(status) for status in ("200", "400", "500")] == [1, 1, 1]


@pytest.mark.parametrize(("body", "status"), [(b"fine", b"200"), (b"bad", b"400")])
async def test_who_wants_the_connection_closed_is_told_so_and_hears_no_more(body: bytes, status: bytes) -> None:
    site = Site()
    site.receive(a_request(body, b"Connection: close") + a_request(b"late"))

    assert b"\r\nConnection: close\r\n" in site.wire.sent
    assert [it for it, _ in answers(site.wire.sent)] == [status]
    assert site.wire.closed
    assert site.asked == [body]


async def test_an_answer_for_a_connection_that_is_gone_is_dropped() -> None:
    site = Site(at_once=False)
    site.receive(a_request(b"1"))
    site.connection.connection_lost(None)
    site.waiting.pop()()

    assert site.wire.sent == b""
    assert site.metrics.value("kraken_http_connections") == 0


async def test_a_reader_that_takes_nothing_gets_no_second_answer() -> None:
    site = Site()
    site.wire.refuses = True
    site.receive(a_request(b"1") + a_request(b"2"))

    assert site.asked == [b"1"]
    assert not site.wire.reading
    site.wire.refuses = False
    site.connection.resume_writing()
    assert site.asked == [b"1", b"2"]
    assert site.wire.reading


async def test_other_requests_go_to_aiohttp_and_the_connection_comes_back() -> None:
    site = Site()
    for body in (b"1", b"2"):
        site.receive(GET)
        await quiet(site)
        assert site.metrics.value("kraken_http_connections") == 1
        site.receive(a_request(body))

    assert [body for _, body in answers(site.wire.sent)] == [b"aiohttp: ", b"<1>", b"aiohttp: ", b"<2>"]
    assert site.asked == [b"1", b"2"]
    assert site.metrics.value("kraken_http_connections") == 1


@pytest.mark.parametrize(
    "lent",
    [
        GET + GET,
        a_request(b"x" * 1001),
        a_request(b"1", b"Expect: 100-continue"),
        b"POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n1",
        b"POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    ],
)
async def test_a_connection_stays_with_aiohttp_when_the_end_of_its_request_was_not_certain(lent: bytes) -> None:
    site = Site()
    site.receive(lent)
    await quiet(site)
    site.wire.sent = b""
    site.receive(a_request(b"after"))
    await quiet(site)

    assert answers(site.wire.sent) == [(b"200", b"aiohttp: after")]
    assert site.asked == []


async def test_a_request_that_comes_before_the_answer_of_aiohttp_is_its_own_too() -> None:
    site = Site()
    site.receive(GET)
    site.receive(a_request(b"1"))
    await quiet(site)
    site.receive(a_request(b"2"))
    await quiet(site)

    assert [body for _, body in answers(site.wire.sent)] == [b"aiohttp: ", b"aiohttp: 1", b"aiohttp: 2"]


async def test_a_drain_closes_who_waits_for_nothing_and_lets_the_others_have_their_answer() -> None:
    site = Site(at_once=False)
    idle = Wire()
    idle_one = site.connect(idle)
    site.receive(a_request(b"1"))
    draining = asyncio.create_task(site.lane.drain(5.0))
    await asyncio.sleep(0)

    assert idle.closed
    assert not site.wire.closed
    idle_one.connection_lost(None)
    site.waiting.pop()()
    assert site.wire.closed
    assert b"\r\nConnection: close\r\n" in site.wire.sent
    assert not draining.done()
    site.connection.connection_lost(None)
    await draining


async def test_a_drain_ends_in_time_whoever_waits_and_leaves_what_is_lent_to_aiohttp() -> None:
    site = Site(at_once=False)
    lent = Wire()
    site.connect(lent).data_received(GET[:10])
    site.receive(a_request(b"never answered"))
    await site.lane.drain(0.0)

    assert site.wire.closed
    assert not lent.closed


async def test_a_connection_that_comes_back_while_the_server_drains_has_one_answer_more() -> None:
    site = Site()
    site.receive(GET)
    await quiet(site)
    await site.lane.drain(5.0)
    site.receive(a_request(b"1"))

    assert answers(site.wire.sent)[1:] == [(b"200", b"<1>")]
    assert site.wire.closed
