"""Threads for what would block the loop: files, hashes and ciphers.

Hashing, encrypting, pread and pwrite release the interpreter lock, so a few threads use all cores. A piece takes 0.1 to
0.5 ms of work there, so the way to a thread and back has to be short: a job wakes one thread, the one that rested last,
for its stack is still in the cache; and the loop is woken once for all that has ended meanwhile. A `SimpleQueue`, as
executors have it, wakes a second thread for each job, which finds nothing, but takes the interpreter lock to see that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from threading import Lock, Thread
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


FILE_THREADS = 4
"""Threads of a component, unless it says otherwise."""

_Job = tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]
_Outcome = tuple[asyncio.Future[Any], Any, BaseException | None]


class _Worker:
    """A thread that rests until its lock is released, and then does its job; None for a job ends it."""

    def __init__(self, work: Callable[[_Worker], None], name: str) -> None:
        self.job: _Job | None = None
        self.rest = Lock()
        self.rest.acquire()
        self.thread = Thread(target=work, args=(self,), name=name, daemon=True)  # or no process that fails would end

    def wake(self, job: _Job | None) -> None:
        self.job = job
        self.rest.release()


class FileThreads:
    """A fixed number of threads that run blocking functions for one loop. Used on that loop only."""

    def __init__(self, workers: int = FILE_THREADS, name: str = "files") -> None:
        """Args: name, of the threads, as debuggers show it. They are made when they are needed."""
        self._most = workers
        self._name = name
        self._workers: list[_Worker] = []
        self._lock = Lock()  # for the next two
        self._resting: list[_Worker] = []  # who came last goes first
        self._jobs: deque[_Job] = deque()  # that nobody was free for
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
        job: _Job = future, fn, args, kwargs
        with self._lock:
            worker = self._resting.pop() if self._resting else None
            if worker is None:
                self._jobs.append(job)
        if worker is not None:
            worker.wake(job)
        elif len(self._workers) < self._most:
            self._add_worker()
        return future

    def close(self) -> None:
        """Drop what has not begun, and wait for what has."""
        with self._lock:
            self._closed = True
            dropped, self._jobs = self._jobs, deque()
            resting, self._resting = self._resting, []
        for future, *_ in dropped:
            if not future.get_loop().is_closed():
                future.cancel()
        for worker in resting:
            worker.wake(None)
        for worker in self._workers:
            worker.thread.join()

    def _add_worker(self) -> None:
        worker = _Worker(self._work, f"{self._name}_{len(self._workers)}")
        self._workers.append(worker)
        worker.thread.start()

    def _take_outcomes(self) -> None:
        self._told = False  # first: what ends from now on is told of again
        while self._ended:
            future, result, error = self._ended.popleft()
            if future.cancelled():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    # In a thread.

    def _work(self, worker: _Worker) -> None:
        while (job := self._next(worker)) is not None:
            loop = job[0].get_loop()
            self._ended.append(_outcome(*job))
            del job  # or what it works on would live until the next one comes
            if not self._told:
                self._told = True
                try:
                    loop.call_soon_threadsafe(self._take_outcomes)
                except RuntimeError:  # the loop is closed: nobody waits any more
                    return

    def _next(self, worker: _Worker) -> _Job | None:
        """A job that waits, or, after a rest, the one that comes; None when there will be none."""
        with self._lock:
            if self._jobs:
                return self._jobs.popleft()
            if self._closed:
                return None
            self._resting.append(worker)
        worker.rest.acquire()
        job, worker.job = worker.job, None
        return job


def _outcome(
    future: asyncio.Future[Any], fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> _Outcome:
    if future.cancelled():  # before it began
        return future, None, None
    try:
        return future, fn(*args, **kwargs), None
    except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to who waits
        return future, None, error
