"""Waiting for a thread that works on a buffer or descriptor of ours."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TypeVar

T = TypeVar("T")


async def finished(job: asyncio.Future[T]) -> T:
    """The result of a job, once it has really ended.

    A cancelled caller is held until then, for it will reuse the buffer or close the descriptor that
    the job still works on. Jobs are short: a few MiB at most.
    """
    ended: asyncio.Future[None] = job.get_loop().create_future()
    job.add_done_callback(partial(_tell, ended))
    try:
        await ended
    except asyncio.CancelledError:
        while not job.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([job])
        if not job.cancelled():
            job.exception()  # seen, so that nobody reports it as lost
        raise
    return job.result()


def _tell(ended: asyncio.Future[None], _job: asyncio.Future[T]) -> None:
    if not ended.done():
        ended.set_result(None)
