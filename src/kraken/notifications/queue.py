"""The events that wait, on disk: one SQLite file with a queue for each endpoint, read and written by one thread.

WAL with synchronous=FULL: what `append` has answered survives a power cut. What waits for the thread together is
committed together, for a commit is an fsync. The file is locked while it is open: two processes on one would
deliver everything twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kraken.core.errors import BadConfig, KrakenError, Unavailable
from kraken.core.pieces import KIB

T = TypeVar("T")

MAX_BATCH_BYTES = 512 * KIB
"""Of the events in one batch; a single larger one is a batch alone. Common web servers refuse bodies above 1 MiB."""

MAX_WAITING = 8192
"""Jobs that may wait for the thread."""

MAX_WAITING_FOR_PULLS = MAX_WAITING // 4
"""With more jobs than that, pulls are turned away, so that they never crowd out a push."""

_MAX_GROUP = 256
_BUSY_SECONDS = 10.0
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- a number is never used again, not even after a restart
    endpoint TEXT NOT NULL,
    is_pull INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX in_order ON events (endpoint, number);
CREATE INDEX to_drop ON events (endpoint, is_pull DESC, number);
"""

_Job = tuple[Callable[[], Any], "Future[Any]"]


@dataclass(frozen=True, slots=True)
class Queued:
    """An event that waits. Numbers grow in the order in which events were appended."""

    number: int
    body: bytes


class EventQueue:
    """The queues of all endpoints."""

    def __init__(self, path: Path, endpoints: Collection[str], max_events: int) -> None:
        """Open the file, or make it. Blocks; afterwards only the methods that are awaited do not.

        Args: endpoints, by name; what waits for others is discarded. max_events, for each of them.
        Raises: BadConfig, one line, when the file cannot be used.
        """
        self._max_events = max_events
        self._base = _opened(path)  # from now on it belongs to the thread
        waiting = dict(self._base.execute("SELECT endpoint, COUNT(*) FROM events GROUP BY endpoint"))
        self._lengths = {endpoint: waiting.pop(endpoint, 0) for endpoint in endpoints}
        self._base.executemany("DELETE FROM events WHERE endpoint = ?", [(endpoint,) for endpoint in waiting])
        self.discarded: dict[str, int] = waiting
        self._jobs: queue.Queue[_Job | None] = queue.Queue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="notifications", daemon=True)
        self._thread.start()

    def length(self, endpoint: str) -> int:
        """How many events wait for an endpoint."""
        length: int = self._lengths[endpoint]
        return length

    def append(self, endpoints: Sequence[str], body: bytes, *, is_pull: bool) -> asyncio.Future[dict[str, int]]:
        """Let an event wait for endpoints; durable when the future is done, whether or not somebody awaits it.

        Returns: how many others had to go for it, for each endpoint whose queue was full.
        Raises: Unavailable, by the future.
        """
        limit = MAX_WAITING_FOR_PULLS if is_pull else MAX_WAITING
        return self._submit(lambda: self._append(endpoints, body, is_pull), limit)

    def head(self, endpoint: str, *, after: int, limit: int) -> asyncio.Future[list[Queued]]:
        """The oldest events of an endpoint behind a number, at most `limit`. Raises: Unavailable."""
        return self._submit(lambda: self._head(endpoint, after, limit))

    def remove(self, endpoint: str, *, until: int) -> asyncio.Future[None]:
        """Forget the events of an endpoint up to a number, that one included. Raises: Unavailable."""
        return self._submit(lambda: self._remove(endpoint, until))

    async def close(self) -> None:
        """Finish the jobs that wait, then close the file."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def _submit(self, job: Callable[[], T], limit: int = MAX_WAITING) -> asyncio.Future[T]:
        done: Future[T] = Future()
        if self._closed:
            done.set_exception(Unavailable("the notification queue is closed"))
        elif self._jobs.qsize() >= limit:
            done.set_exception(Unavailable(f"the notification queue has {limit} events to write"))
        else:
            self._jobs.put((job, done))
        return asyncio.wrap_future(done)

    def _work(self) -> None:
        ending = False
        while not ending:
            group, ending = self._next_group()
            if group:
                self._commit(group)
        self._base.close()

    def _next_group(self) -> tuple[list[_Job], bool]:
        """What waits now, at least one entry. Returns: the group, and whether the queue is closing."""
        group: list[_Job] = []
        entry = self._jobs.get()
        while entry is not None:
            group.append(entry)
            if len(group) == _MAX_GROUP or self._jobs.empty():
                return group, False
            entry = self._jobs.get_nowait()
        return group, True

    def _commit(self, group: Sequence[_Job]) -> None:
        """Do a group in one transaction, then tell everyone. When it fails, each tries alone, and fails alone."""
        lengths = dict(self._lengths)
        try:
            self._base.execute("BEGIN IMMEDIATE")
            results = [job() for job, _done in group]
            self._base.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._base.execute("ROLLBACK")
            self._lengths = lengths
            if len(group) > 1:
                for entry in group:
                    self._commit([entry])
            else:
                _resolve(group[0][1], Unavailable(f"the notification queue cannot be used: {error}"))
            return
        for (_job, done), result in zip(group, results, strict=True):
            _resolve(done, result)

    def _append(self, endpoints: Sequence[str], body: bytes, is_pull: bool) -> dict[str, int]:
        dropped = {}
        for endpoint in endpoints:
            self._base.execute(
                "INSERT INTO events (endpoint, is_pull, body) VALUES (?, ?, ?)", (endpoint, is_pull, body)
            )
            self._lengths[endpoint] += 1
            excess = self._lengths[endpoint] - self._max_events
            if excess > 0:
                self._drop(endpoint, excess)
                dropped[endpoint] = excess
        return dropped

    def _drop(self, endpoint: str, count: int) -> None:
        """Make room: pulls first, the oldest first among equals. So a pull never displaces a push."""
        self._base.execute(
            "DELETE FROM events WHERE number IN"
            " (SELECT number FROM events WHERE endpoint = ? ORDER BY is_pull DESC, number LIMIT ?)",
            (endpoint, count),
        )
        self._lengths[endpoint] -= count

    def _head(self, endpoint: str, after: int, limit: int) -> list[Queued]:
        batch: list[Queued] = []
        size = 0
        for number, body in self._base.execute(
            "SELECT number, body FROM events WHERE endpoint = ? AND number > ? ORDER BY number LIMIT ?",
            (endpoint, after, limit),
        ):
            size += len(body)
            if batch and size > MAX_BATCH_BYTES:
                break
            batch.append(Queued(number, body))
        return batch

    def _remove(self, endpoint: str, until: int) -> None:
        removed = self._base.execute("DELETE FROM events WHERE endpoint = ? AND number <= ?", (endpoint, until))
        self._lengths[endpoint] -= removed.rowcount


def _resolve(done: Future[Any], outcome: object) -> None:
    if not done.set_running_or_notify_cancel():
        return  # whoever asked is gone
    if isinstance(outcome, KrakenError):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)


def _opened(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        base = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=_BUSY_SECONDS)
    except (OSError, sqlite3.Error) as error:
        raise BadConfig(f"the notification queue cannot open {path}: {_reason(error)}") from error
    try:
        base.execute("PRAGMA locking_mode=EXCLUSIVE")
        base.execute("PRAGMA journal_mode=WAL")
        base.execute("PRAGMA synchronous=FULL")
        (found,) = base.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found.splitlines()[0])
        _make_tables(base, path)
    except sqlite3.Error as error:
        base.close()
        raise BadConfig(f"the notification queue cannot open {path}: {_reason(error)}") from error
    except BadConfig:
        base.close()
        raise
    return base


def _make_tables(base: sqlite3.Connection, path: Path) -> None:
    base.execute("BEGIN IMMEDIATE")  # from here on the file is ours alone
    base.execute("COMMIT")
    (version,) = base.execute("PRAGMA user_version").fetchone()
    if version == 0:
        base.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={_SCHEMA_VERSION}; COMMIT;")
    elif version != _SCHEMA_VERSION:
        raise BadConfig(f"{path} was written by another version of Kraken (schema {version}); move it away")


def _reason(error: OSError | sqlite3.Error) -> str:
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno else str(error)
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code == sqlite3.SQLITE_BUSY:
        return "another process has it open"
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return f"{error}; move it away, and the queue begins empty"
    return str(error)
