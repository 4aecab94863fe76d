"""The express lane of a server over real sockets, on both event loops that may run it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
import uvloop
from aiohttp import web

from kraken.core.errors import Invalid
from kraken.observability.metrics import Metrics
from kraken.runtime.web import HttpSettings, WebServer, component_app, read_body
from kraken.runtime.web_express import Answer, ExpressRoute

SETTINGS = HttpSettings(header_seconds=0.3, keepalive_seconds=1.0, max_connections=4, drain_seconds=5.0)
MANY = replace(SETTINGS, header_seconds=30.0, keepalive_seconds=30.0)


def on_both_loops(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """A test that runs once on Python's own event loop and once on uvloop's."""

    def run(loop_factory: Callable[[], asyncio.AbstractEventLoop] | None, **arguments: object) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(test(**arguments))

    own = inspect.Parameter("loop_factory", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = inspect.Signature([*inspect.signature(test).parameters.values(), own])  # type: ignore[attr-defined]
    run.__name__ = test.__name__
    return pytest.mark.parametrize("loop_factory", [None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])(run)


class Site:
    """A server whose route /echo is answered on the lane, and by aiohttp in a way that shows."""

    def __init__(self, server: WebServer, metrics: Metrics) -> None:
        self.server = server
        self.metrics = metrics
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.has_asked = asyncio.Event()

    async def raw(self, *parts: bytes) -> bytes:
        """What a connection answers to these bytes, each sent when the last had its time to arrive, until it closes."""
        reader, writer = await self.connect()
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        answer = await reader.read()
        writer.close()
        return answer

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.server.address.host, self.server.address.port)


@asynccontextmanager
async def a_site(settings: HttpSettings = MANY) -> AsyncIterator[Site]:
    metrics = Metrics("tracker", "tracker-1")
    app = component_app("tracker", "tracker-1", metrics, list)

    async def slow_lane(request: web.Request) -> web.Response:
        return web.Response(body=b"aiohttp: " + await read_body(request, settings.idle_seconds, max_bytes=2000))

    def fast_lane(body: bytes, remote: str, answer: Answer) -> None:
        assert remote == "127.0.0.1"
        site.has_asked.set()
        if body == b"bad":
            raise Invalid("this is bad")
        if site.may_answer.is_set():
            answer(b"lane: " + body)
        else:
            waiting.append(asyncio.create_task(later(body, answer)))

    async def later(body: bytes, answer: Answer) -> None:
        await site.may_answer.wait()
        answer(b"lane: " + body)

    waiting: list[asyncio.Task[None]] = []
    app.router.add_post("/echo", slow_lane)
    site = Site(WebServer(app, settings, ExpressRoute("/echo", "text/plain", 1000, fast_lane)), metrics)
    await site.server.start()
    try:
        yield site
    finally:
        site.may_answer.set()
        await site.server.stop()
        await asyncio.gather(*waiting)


def a_request(body: bytes, *fields: bytes, line: bytes = b"POST /echo HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: t", b"Content-Length: %d" % len(body), *fields, b"", b""]) + body


def bodies(answer: bytes) -> list[bytes]:
    """The bodies of a few answers."""
    found = []
    while answer:
        head, _, rest = answer.partition(b"\r\n\r\n")
        length = next(int(it[15:]) for it in head.split(b"\r\n") if it.lower().startswith(b"content-length:"))
        found.append(rest[:length])
        answer = rest[length:]
    return found


CLOSE = b"Connection: close"


@on_both_loops
async def test_requests_of_the_lane_and_others_share_a_connection() -> None:
    health = b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n"
    async with a_site() as site:
        answer = await site.raw(a_request(b"1"), health, a_request(b"2"), a_request(b"3") + a_request(b"4", CLOSE))

        assert bodies(answer) == [b"lane: 1", b'{"status": "alive"}', b"lane: 2", b"lane: 3", b"lane: 4"]
        assert site.metrics.value("kraken_http_requests_total", route="/echo", method="POST", status="200") == 4


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        (a_request(b"1", CLOSE, b"Expect: 100-continue"), b"100", b"aiohttp: 1"),
        (a_request(b"1", line=b"POST /echo HTTP/1.0"), b"200", b"aiohttp: 1"),
        (a_request(b"", CLOSE, line=b"HEAD /echo HTTP/1.1"), b"405", b""),
        (a_request(b"", CLOSE, line=b"PUT /echo HTTP/1.1"), b"405", b""),
        (a_request(b"x" * 1500, CLOSE), b"200", b"aiohttp: " + b"x" * 1500),
        (a_request(b"x" * 2500, CLOSE), b"400", b"larger than 2000"),
        (a_request(b"1", CLOSE, b"X: " + b"x" * 3000), b"200", b"aiohttp: 1"),
        (a_request(b"1", CLOSE, *(b"X: " + b"x" * 3000 for _ in range(6))), b"431", b""),
        (a_request(b"1", CLOSE, b"X: " + b"x" * 20000), b"431", b""),
        (a_request(b"1", CLOSE, b"Content-Length: 2"), b"400", b""),
        (a_request(b"1", CLOSE, b"Transfer-Encoding: chunked"), b"400", b""),
        (a_request(b"bad", CLOSE), b"400", b"this is bad"),
        (b"POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: x\r\n\r\n", b"400", b""),
        (b"POST\r\n\r\n", b"400", b""),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"400", b""),
    ],
)
@on_both_loops
async def test_what_the_lane_does_not_take_is_answered_as_it_always_was(
    request_: bytes, status: bytes, body: bytes
) -> None:
    async with a_site() as site:
        answer = await site.raw(request_)

        assert answer.split(b" ")[1] == status
        assert body in answer
        assert await site.raw(a_request(b"still here", CLOSE))


@pytest.mark.parametrize(
    "beginning", [b"", b"POS", b"POST /echo HTTP/1.1\r\nHost: t", a_request(b"12345")[:-1], b"GET /healthz HT"]
)
@on_both_loops
async def test_who_does_not_finish_a_request_is_told_and_closed(beginning: bytes) -> None:
    async with a_site(SETTINGS) as site:
        assert (await site.raw(beginning)).startswith(b"HTTP/1.1 408 ")
        assert b" 408 " in await site.raw(a_request(b"1"), beginning or b"P")


@on_both_loops
async def test_one_byte_now_and_then_does_not_put_the_end_off() -> None:
    request = a_request(b"x" * 900)
    async with a_site(SETTINGS) as site:
        reader, writer = await site.connect()
        answer = asyncio.create_task(reader.read())
        sent = 0
        while not answer.done() and sent < len(request):
            writer.write(request[sent : sent + 1])
            sent += 1
            await asyncio.sleep(0.01)
        with suppress(ConnectionError):  # a byte may have crossed the end
            assert (await answer).startswith(b"HTTP/1.1 408 ")
        writer.close()

    assert sent < len(request) / 2


@on_both_loops
async def test_a_connection_that_asks_nothing_more_is_closed_silently() -> None:
    async with a_site(SETTINGS) as site:
        assert bodies(await site.raw(a_request(b"1"))) == [b"lane: 1"]


@on_both_loops
async def test_a_connection_too_many_is_told_to_come_back_and_has_room_later() -> None:
    async with a_site() as site:
        open_ones = [await site.connect() for _ in range(4)]
        for reader, writer in open_ones:
            writer.write(a_request(b"1"))
            await reader.readuntil(b"lane: 1")
        refused = await site.raw(a_request(b"1"))
        assert site.metrics.value("kraken_http_connections") == 4
        reader, writer = open_ones[0]
        writer.write(a_request(b"2", CLOSE))
        await reader.read()
        again = await site.raw(a_request(b"3", CLOSE))
        for _, writer in open_ones:
            writer.close()

    assert refused.startswith(b"HTTP/1.1 503 ")
    assert bodies(again) == [b"lane: 3"]


@on_both_loops
async def test_who_waits_for_an_answer_gets_it_while_the_server_stops() -> None:
    async with a_site() as site:
        site.may_answer.clear()
        idle, idle_writer = await site.connect()
        under_way = asyncio.create_task(site.raw(a_request(b"1")))
        await site.has_asked.wait()
        stopping = asyncio.create_task(site.server.stop())
        assert await idle.read() == b""
        assert not stopping.done()
        site.may_answer.set()

        assert bodies(await under_way) == [b"lane: 1"]
        await stopping
        idle_writer.close()
        with pytest.raises(ConnectionError):
            await site.connect()
