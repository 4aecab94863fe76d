"""Threads for what would block the loop: files, hashes and ciphers.

Hashing, encrypting, pread and pwrite release the interpreter lock, so a few threads use all cores.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


FILE_THREADS = 4
"""Threads of a component, unless it says otherwise."""


class FileThreads:
    """A fixed number of threads that run blocking functions for the loop."""

    def __init__(self, workers: int = FILE_THREADS, name: str = "files") -> None:
        """Args: name, of the threads, as debuggers show it. They are made when they are needed."""
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=name)

    async def run(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `fn`, computed in a thread.

        A cancelled caller stops waiting at once; the function itself runs to its end.
        """
        return await self.submit(fn, *args, **kwargs)

    def submit(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Start `fn` in a thread without waiting. To be called on the loop."""
        return asyncio.wrap_future(self._pool.submit(fn, *args, **kwargs))

    def close(self) -> None:
        """Drop what has not begun, and wait for what has."""
        self._pool.shutdown(wait=True, cancel_futures=True)
