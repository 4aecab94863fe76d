"""Webhooks: one that is only a function, and one that listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum

from aiohttp import web
from tests.helpers.events import numbers_in
from tests.helpers.ports import free_address

from kraken.core.errors import Unavailable
from kraken.core.peers import Address


class Answer(Enum):
    """What a webhook makes of a POST."""

    TAKEN = 200
    MOVED = 302
    REFUSED = 400
    FAILED = 503
    UNREACHABLE = "unreachable"
    TAKEN_UNANSWERED = "it takes the events, and its answer is lost"
    WE_DIE = "it takes the events, and we are killed before its answer"

    @property
    def takes(self) -> bool:
        return self in (Answer.TAKEN, Answer.MOVED, Answer.TAKEN_UNANSWERED, Answer.WE_DIE)


class Killed(Exception):
    """Ends a sender where kill -9 would."""


@dataclass
class ScriptedWebhook:
    """A `Post` that gives the answers of its script, and takes everything when that is at its end."""

    script: list[Answer] = field(default_factory=list)
    batches: list[list[int]] = field(default_factory=list)
    """The numbers of the events in each batch that it took."""
    headers: list[Mapping[str, str]] = field(default_factory=list)
    """Of each POST, taken or not."""

    async def __call__(self, body: bytes, headers: Mapping[str, str]) -> int:
        self.headers.append(headers)
        answer = self.script.pop(0) if self.script else Answer.TAKEN
        if answer.takes:
            self.batches.append(numbers_in(body))
        if answer is Answer.WE_DIE:
            raise Killed
        if isinstance(answer.value, str):
            raise Unavailable(answer.value)
        assert isinstance(answer.value, int)
        return answer.value

    @property
    def taken(self) -> list[int]:
        """The numbers of the events, each where it came first."""
        return firsts(self.batches)


@dataclass(frozen=True)
class Posted:
    """A POST that arrived."""

    headers: Mapping[str, str]
    body: bytes


Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Receiver:
    """A webhook that listens. It answers 200 unless told to behave otherwise, and keeps what it was sent."""

    def __init__(self, address: Address) -> None:
        self.url = f"http://{address}/hook"
        self.behaviour: Behaviour = _thanks
        self.posted: list[Posted] = []
        self.taken: list[list[int]] = []
        """The numbers of the events of each POST that was answered with success."""
        self._changed = asyncio.Condition()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until something holds that a POST can change."""
        async with self._changed, asyncio.timeout(30):
            await self._changed.wait_for(reached)

    async def until_taken(self, *numbers: int) -> None:
        """Wait until these events have been taken; no others, and first in this order."""
        await self.until(lambda: len(firsts(self.taken)) >= len(numbers))
        assert firsts(self.taken) == list(numbers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        async with self._changed:
            self.posted.append(Posted(request.headers.copy(), body))
            self._changed.notify_all()
        response = await self.behaviour(request)
        if response.status < 400:
            async with self._changed:
                self.taken.append(numbers_in(body))
                self._changed.notify_all()
        return response


@asynccontextmanager
async def a_receiver(address: Address | None = None) -> AsyncIterator[Receiver]:
    """A webhook that listens on loopback."""
    address = address or free_address()
    receiver = Receiver(address)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, address.host, address.port).start()
    try:
        yield receiver
    finally:
        await runner.cleanup()


def firsts(batches: Iterable[Iterable[int]]) -> list[int]:
    """The numbers in all batches, each where it came first."""
    return list(dict.fromkeys(number for batch in batches for number in batch))


async def _thanks(_request: web.Request) -> web.StreamResponse:
    return web.Response()
