"""The index store on disk: SQLite, written by one thread.

WAL with synchronous=FULL: what `put` has answered survives a power cut. Writes that wait together are
committed together, for a commit is an fsync: one by one 420 a second, in groups 20,000.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from kraken.core.digest import Digest
from kraken.core.errors import BadConfig, KrakenError, OutOfSpace, Unavailable
from kraken.index import rows
from kraken.index.records import Entry, TagRows, Write
from kraken.index.versions import Version
from kraken.oci.manifests import ManifestRecord
from kraken.oci.references import Reference, RepositoryName
from kraken.oci.referrers import Referrer
from kraken.runtime.clock import Clock

T = TypeVar("T")
P = ParamSpec("P")

_MAX_GROUP = 256
"""Writes of one commit; more of them wait for the next."""

_MAX_WAITING = 4096
"""Writes that may wait; a further one is told to come again."""

_BUSY_SECONDS = 10.0

_Waiting = tuple[Callable[[sqlite3.Connection], Any], "Future[Any]"]


class SqliteIndexStore:
    """Tags and manifests in one SQLite file."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open the file, or make it.

        Raises: BadConfig, one line, when it cannot be written or is no index.
        """
        self._path = path
        self._clock = clock
        self._writing = _opened(path)  # belongs to the writer thread
        self._reading, self._scanning = _connected(path), _connected(path)
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="index-read")
        self._scanners = ThreadPoolExecutor(1, thread_name_prefix="index-scan")
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue()
        self._writer = threading.Thread(target=self._write_loop, name="index-write", daemon=True)
        self._writer.start()
        self._closed = False

    async def put(self, write: Write) -> Version:
        return await self.change(rows.apply, write, self._clock.wall().timestamp())

    async def resolve(self, repository: RepositoryName, reference: Reference) -> Entry[ManifestRecord] | None:
        return await self.read(rows.resolve, repository, reference)

    async def manifests(
        self, repository: RepositoryName, digests: Collection[Digest]
    ) -> Mapping[Digest, Entry[ManifestRecord]]:
        return await self.read(rows.manifests, repository, digests)

    async def links(self, repository: RepositoryName, digests: Collection[Digest]) -> Mapping[Digest, Entry[int]]:
        return await self.read(rows.links, repository, digests)

    async def used(self, digests: Collection[Digest]) -> set[Digest]:
        return await self.read(rows.used, digests)

    async def tags(self, repository: RepositoryName, last: str | None, limit: int) -> TagRows | None:
        return await self.read(rows.tags, repository, last, limit)

    async def tags_of(self, repository: RepositoryName, manifest: Digest) -> Sequence[tuple[str, Entry[bool]]]:
        return await self.read(rows.tags_of, repository, manifest)

    async def referrers(self, repository: RepositoryName, subject: Digest) -> Sequence[tuple[Digest, Entry[Referrer]]]:
        return await self.read(rows.referrers, repository, subject)

    async def repositories(self, last: str | None, limit: int) -> Sequence[str]:
        return await self.read(rows.repositories, last, limit)

    async def read(self, look: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `look` finds in the tables; it must be quick, for others wait. Raises: Unavailable."""
        return await self._look(self._readers, self._reading, lambda base: look(base, *args, **kwargs))

    async def scan(self, look: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `look` finds in the tables, however long that takes. Raises: Unavailable."""
        return await self._look(self._scanners, self._scanning, lambda base: look(base, *args, **kwargs))

    async def change(
        self, change: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What `change` returns, once what it did to the tables is durable. Raises: Unavailable; OutOfSpace."""
        if self._closed or self._waiting.qsize() >= _MAX_WAITING:
            raise Unavailable("the index has too many writes to do" if not self._closed else "the index is closing")
        done: Future[T] = Future()
        self._waiting.put((lambda base: change(base, *args, **kwargs), done))
        return await asyncio.wrap_future(done)

    async def close(self) -> None:
        """Finish the writes that wait, then close the file."""
        if self._closed:
            return
        self._closed = True
        self._waiting.put(None)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._writer.join)
        for threads, base in ((self._readers, self._reading), (self._scanners, self._scanning)):
            base.interrupt()
            await loop.run_in_executor(threads, base.close)
            threads.shutdown(wait=True)

    async def _look(
        self, threads: ThreadPoolExecutor, base: sqlite3.Connection, look: Callable[[sqlite3.Connection], T]
    ) -> T:
        if self._closed:
            raise Unavailable("the index is closing")
        try:
            return await asyncio.wrap_future(threads.submit(look, base))
        except sqlite3.Error as error:
            raise Unavailable(f"the index cannot be read: {error}") from error

    def _write_loop(self) -> None:
        ending = False
        while not ending:
            group, ending = self._next_group()
            if group:
                _commit(self._writing, group)
        self._writing.close()

    def _next_group(self) -> tuple[list[_Waiting], bool]:
        """What waits now, at least one entry. Returns: the group, and whether the store is closing."""
        group: list[_Waiting] = []
        entry = self._waiting.get()
        while entry is not None:
            group.append(entry)
            if len(group) == _MAX_GROUP or self._waiting.empty():
                return group, False
            entry = self._waiting.get_nowait()
        return group, True


def _commit(base: sqlite3.Connection, group: Sequence[_Waiting]) -> None:
    """Write a group in one transaction, then tell each writer. A failure is every writer's."""
    try:
        base.execute("BEGIN IMMEDIATE")
        outcomes = [change(base) for change, _done in group]
        base.execute("COMMIT")
    except sqlite3.Error as error:
        if base.in_transaction:
            base.execute("ROLLBACK")
        for _change, done in group:
            if done.set_running_or_notify_cancel():  # else whoever asked is gone
                done.set_exception(_failure(error))
        return
    for (_change, done), outcome in zip(group, outcomes, strict=True):
        if done.set_running_or_notify_cancel():
            done.set_result(outcome)


def _failure(error: sqlite3.Error) -> KrakenError:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return OutOfSpace("the disk of the index is full", retry_after=30)
    return Unavailable(f"the index cannot be written: {error}")


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=_BUSY_SECONDS)


def _opened(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        base = _connected(path)
        base.execute("PRAGMA journal_mode=WAL")
        base.execute("PRAGMA synchronous=FULL")
        _make_tables(base, path)
    except (OSError, sqlite3.Error) as error:
        raise BadConfig(f"the index cannot open {path}: {_reason(error)}") from error
    return base


def _make_tables(base: sqlite3.Connection, path: Path) -> None:
    version = base.execute("PRAGMA user_version").fetchone()[0]
    if version == rows.SCHEMA_VERSION:
        return
    if version != 0:
        raise BadConfig(f"{path} was written by another version of the index (schema {version})")
    base.executescript(f"BEGIN; {rows.SCHEMA} PRAGMA user_version={rows.SCHEMA_VERSION}; COMMIT;")


def _reason(error: OSError | sqlite3.Error) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
