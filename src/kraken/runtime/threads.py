"""Threads for what would block the loop: files, hashes and ciphers.

Hashing, encrypting, pread and pwrite release the interpreter lock, so a few threads use all cores. A piece takes 0.1 to
0.5 ms of work there, so the way to a thread and back has to be short: one queue, no lock of our own, and one wake-up of
the loop for all that has ended meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


FILE_THREADS = 4
"""Threads of a component, unless it says otherwise."""

_Job = tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]
_Outcome = tuple[asyncio.Future[Any], Any, BaseException | None]


class FileThreads:
    """A fixed number of threads that run blocking functions for one loop. Used on that loop only."""

    def __init__(self, workers: int = FILE_THREADS, name: str = "files") -> None:
        """Args: name, of the threads, as debuggers show it. They are made when they are needed."""
        self._workers = workers
        self._name = name
        self._threads: list[Thread] = []
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._under_way = 0  # jobs of which the loop does not know the outcome yet
        self._ended: deque[_Outcome] = deque()
        self._told = False  # the loop will look at what has ended
        self._closed = False

    async def run(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `fn`, computed in a thread.

        A cancelled caller stops waiting at once; the function itself runs to its end, if it has begun.
        """
        return await self.submit(fn, *args, **kwargs)

    def submit(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Start `fn` in a thread without waiting. Raises: RuntimeError, after `close`."""
        if self._closed:
            raise RuntimeError(f"the threads {self._name!r} are closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._under_way += 1
        if len(self._threads) < min(self._under_way, self._workers):
            self._start_thread()
        self._jobs.put((future, fn, args, kwargs))
        return future

    def close(self) -> None:
        """Drop what has not begun, and wait for what has."""
        self._closed = True
        with suppress(Empty):
            while (job := self._jobs.get_nowait()) is not None:
                if not job[0].get_loop().is_closed():
                    job[0].cancel()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _start_thread(self) -> None:
        """A daemon, or a process that fails before `close` would never end."""
        thread = Thread(target=self._work, name=f"{self._name}_{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _take_outcomes(self) -> None:
        self._told = False  # first: what ends from now on is told of again
        while self._ended:
            future, result, error = self._ended.popleft()
            self._under_way -= 1
            if future.cancelled():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    # In a thread.

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop = job[0].get_loop()
            self._ended.append(_outcome(*job))
            del job  # or what it works on would live until the next one comes
            if not self._told:
                self._told = True
                try:
                    loop.call_soon_threadsafe(self._take_outcomes)
                except RuntimeError:  # the loop is closed: nobody waits any more
                    return


def _outcome(
    future: asyncio.Future[Any], fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> _Outcome:
    if future.cancelled():  # before it began
        return future, None, None
    try:
        return future, fn(*args, **kwargs), None
    except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to who waits
        return future, None, error
