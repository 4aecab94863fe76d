"""Answers that take long: the client is told that there is still somebody at work."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from aiohttp import web

T = TypeVar("T")

_STILL_AT_WORK: Final = b"HTTP/1.1 102 Processing\r\n\r\n"
_SIGN_OF_LIFE_SECONDS: Final = 5.0


async def with_signs_of_life(request: web.Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of work that may take minutes, such as a commit that waits for the disks of several hosts.

    The client is told every few seconds that it goes on, so that its deadline for a dead server can stay
    short. Source: RFC 2518, section 10.1, 102 Processing; an HTTP client skips answers 1xx that it does not know.
    """
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait([task], timeout=_SIGN_OF_LIFE_SECONDS))[0]:
            await _write_interim(request)
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])


async def _write_interim(request: web.Request) -> None:
    writer = request.writer
    await writer.write(_STILL_AT_WORK)
    writer.output_size = 0  # as aiohttp does for 100 Continue: the answer itself has not begun
