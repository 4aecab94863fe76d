"""The HTTP frame of every component over real sockets: limits, deadlines, errors, drain."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from kraken.core.errors import BadConfig, KrakenError, NotFound, OutOfSpace, Rejected, Unavailable
from kraken.core.peers import Address
from kraken.observability.metrics import Metrics
from kraken.runtime.web import HttpSettings, WebServer, body_chunks, component_app, json_response, read_body
from kraken.runtime.web_client import ClientSettings, HttpClient

SETTINGS = HttpSettings(header_seconds=0.3, idle_seconds=0.2, max_connections=4, drain_seconds=5.0)


class Frame:
    """A running component with a few routes, and a client."""

    def __init__(self, server: WebServer, client: HttpClient, metrics: Metrics) -> None:
        self.server = server
        self.client = client
        self.metrics = metrics
        self.has_begun, self.may_finish = asyncio.Event(), asyncio.Event()
        self.reasons: list[str] = []

    async def raw(self, data: bytes) -> bytes:
        """What a connection answers to these bytes until it closes."""
        reader, writer = await self.connect()
        writer.write(data)
        answer = await reader.read()
        writer.close()
        return answer

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.server.address.host, self.server.address.port)

    async def failure(self, path: str) -> KrakenError:
        with pytest.raises(KrakenError) as caught:
            await self.client.bytes("GET", self.server.address, path)
        return caught.value


@asynccontextmanager
async def a_frame(settings: HttpSettings = SETTINGS) -> AsyncIterator[Frame]:
    metrics = Metrics("origin", "origin-1")
    reasons: list[str] = []
    app = component_app("origin", "origin-1", metrics, lambda: reasons)
    server = WebServer(app, settings)
    frame = Frame(server, HttpClient(ClientSettings()), metrics)
    frame.reasons = reasons

    async def missing(_request: web.Request) -> web.Response:
        raise NotFound("no such blob")

    async def full(_request: web.Request) -> web.Response:
        raise OutOfSpace("the disk is full", retry_after=9.0)

    async def bug(_request: web.Request) -> web.Response:
        raise RuntimeError("a secret path")

    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000000"})
        await response.prepare(request)
        await response.write(b"x" * 1000)
        raise NotFound("gone meanwhile")

    async def count(request: web.Request) -> web.Response:
        size = 0
        async for chunk in body_chunks(request, settings.idle_seconds):
            size += len(chunk)
        return json_response({"size": size})

    async def small(request: web.Request) -> web.Response:
        return json_response({"size": len(await read_body(request, settings.idle_seconds, max_bytes=1000))})

    async def slow(_request: web.Request) -> web.Response:
        frame.has_begun.set()
        await frame.may_finish.wait()
        return json_response("finished")

    for path, handler in {"missing": missing, "full": full, "bug": bug, "cut": cut, "slow": slow}.items():
        app.router.add_get(f"/{path}", handler)
    app.router.add_put("/count", count)
    app.router.add_put("/small", small)
    await server.start()
    try:
        yield frame
    finally:
        frame.may_finish.set()
        await frame.client.close()
        await server.stop()


async def test_health_readiness_and_metrics_are_there() -> None:
    async with a_frame() as frame:
        ask = frame.client
        alive = await ask.json("GET", frame.server.address, "/healthz", into=dict[str, str])
        ready = await ask.json("GET", frame.server.address, "/readyz", into=dict[str, bool])
        frame.reasons.append("no disk")
        not_ready = await frame.raw(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        page = await ask.bytes("GET", frame.server.address, "/metrics")

    assert alive == {"status": "alive"}
    assert ready == {"ready": True}
    assert not_ready.startswith(b"HTTP/1.1 503 ")
    assert json.loads(not_ready.split(b"\r\n\r\n")[1]) == {"ready": False, "reasons": ["no disk"]}
    assert b"\nServer: kraken\r\n" in not_ready
    assert b'kraken_http_requests_total{method="GET",route="/healthz",status="200"} 1.0' in page


async def test_errors_come_back_as_what_they_were() -> None:
    async with a_frame() as frame:
        missing, full, nowhere = [await frame.failure(path) for path in ("/missing", "/full", "/nowhere")]

    assert isinstance(missing, NotFound)
    assert str(missing).endswith("/missing: no such blob")
    assert isinstance(full, OutOfSpace)
    assert full.retry_after == 9.0
    assert isinstance(nowhere, NotFound)


async def test_a_bug_is_a_500_that_tells_nothing() -> None:
    async with a_frame() as frame:
        answer = await frame.raw(b"GET /bug HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in answer
    assert b"Traceback" not in answer


async def test_an_error_after_the_first_bytes_cuts_the_answer_short() -> None:
    async with a_frame() as frame:
        error = await frame.failure("/cut")

    assert isinstance(error, Unavailable)


async def test_a_header_that_does_not_arrive_ends_the_connection() -> None:
    async with a_frame() as frame:
        assert (await frame.raw(b"GET /healthz HT")).startswith(b"HTTP/1.1 408 ")
        assert (await frame.raw(b"")).startswith(b"HTTP/1.1 408 ")


async def test_a_header_that_is_too_large_is_refused() -> None:
    fields = b"".join(b"X-%d: %s\r\n" % (number, b"v" * 1000) for number in range(20))
    async with a_frame() as frame:
        whole = await frame.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + fields + b"Connection: close\r\n\r\n")
        one = await frame.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"v" * 20_000 + b"\r\n\r\n")
        line = await frame.raw(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")

    assert [answer.split()[1] for answer in (whole, one, line)] == [b"431", b"431", b"414"]


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"\x00" * 64 + b"\r\n\r\n", b"GET\r\n\r\n"])
async def test_what_is_not_http_is_refused_and_the_server_lives(data: bytes) -> None:
    async with a_frame() as frame:
        answer = await frame.raw(data)

        assert b" 400 " in answer.splitlines()[0]
        assert await frame.client.bytes("GET", frame.server.address, "/healthz")


async def test_a_connection_too_many_is_told_to_come_back() -> None:
    async with a_frame(replace(SETTINGS, header_seconds=30.0)) as frame:
        open_ones = [await frame.connect() for _ in range(4)]
        refused = await frame.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        for _, writer in open_ones:
            writer.close()

    head, body = refused.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert frame.metrics.value("kraken_http_connections_refused_total") == 1.0


async def test_a_body_streams_through_whatever_its_length() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 100_000

    async with a_frame() as frame:
        size = await frame.client.json("PUT", frame.server.address, "/count", into=dict[str, int])
        answer = await frame.client.bytes("PUT", frame.server.address, "/count", data=chunks())

    assert size == {"size": 0}
    assert answer == b'{"size":5000000}'


async def test_a_stalled_body_is_given_up_and_a_truncated_one_is_no_body() -> None:
    head = b"PUT /count HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\nabc"
    async with a_frame() as frame:
        stalled = await frame.raw(head)
        reader, writer = await frame.connect()
        writer.write(head)
        writer.write_eof()
        cut_short = await reader.read()
        writer.close()

    assert stalled.startswith(b"HTTP/1.1 400 ")
    assert b"stalled" in stalled
    assert b" 200 " not in cut_short


async def test_a_body_that_should_be_small_is_not_read_beyond_its_limit() -> None:
    async with a_frame() as frame:
        with pytest.raises(Rejected, match="larger than 1000 bytes"):
            await frame.client.bytes("PUT", frame.server.address, "/small", data=b"x" * 1001)


async def test_a_source_that_fails_is_not_blamed_on_the_receiver() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"
        raise Rejected("the client went away")

    async with a_frame() as frame:
        with pytest.raises(Rejected, match="went away"):
            await frame.client.bytes("PUT", frame.server.address, "/count", data=chunks())


async def test_requests_under_way_finish_while_the_server_stops() -> None:
    async with a_frame() as frame:
        under_way = asyncio.create_task(frame.client.bytes("GET", frame.server.address, "/slow"))
        await frame.has_begun.wait()
        stopping = asyncio.create_task(frame.server.stop())
        await asyncio.sleep(0)
        frame.may_finish.set()

        assert await under_way == b'"finished"'
        await stopping
        error = await frame.failure("/healthz")

    assert isinstance(error, Unavailable)
    assert str(frame.server.address) in str(error)


async def test_a_port_in_use_and_a_foreign_address_are_one_clear_line() -> None:
    async with a_frame() as frame:
        for listen, words in (
            (frame.server.address, "in use"),
            (Address("192.0.2.1", 0), "does not have that address"),
        ):
            app = component_app("origin", "origin-2", Metrics("origin", "origin-2"), list)
            with pytest.raises(BadConfig) as caught:
                await WebServer(app, HttpSettings(listen=listen)).start()
            assert words in str(caught.value)
            assert "\n" not in str(caught.value)
