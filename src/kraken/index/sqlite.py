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
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from kraken.core.digest import Digest
from kraken.core.errors import BadConfig, KrakenError, OutOfSpace, Unavailable
from kraken.index.records import ManifestWrite, Resolved
from kraken.index.versions import Version
from kraken.oci.manifests import ManifestRecord
from kraken.oci.references import Reference, RepositoryName
from kraken.oci.referrers import Referrer

T = TypeVar("T")

_SCHEMA_VERSION = 2
_SCHEMA = """
CREATE TABLE manifests (
    repository TEXT NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL,
    version TEXT NOT NULL, subject TEXT, artifact_type TEXT, annotations TEXT, PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX referrers ON manifests (repository, subject, digest) WHERE subject IS NOT NULL;
CREATE TABLE tags (
    repository TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL, version TEXT NOT NULL,
    PRIMARY KEY (repository, tag)
) STRICT, WITHOUT ROWID;
"""

_PUT_MANIFEST = """
INSERT INTO manifests VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    media_type = excluded.media_type, size = excluded.size, version = excluded.version,
    subject = excluded.subject, artifact_type = excluded.artifact_type, annotations = excluded.annotations
WHERE excluded.version > manifests.version
"""
_PUT_TAG = """
INSERT INTO tags VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    digest = excluded.digest, version = excluded.version
WHERE excluded.version > tags.version
"""
_RESOLVE_TAG = """
SELECT tags.digest, media_type, size, tags.version FROM tags JOIN manifests USING (repository, digest)
WHERE repository = ? AND tag = ?
"""
_REFERRERS = """
SELECT digest, media_type, size, artifact_type, annotations FROM manifests
WHERE repository = ? AND subject = ? ORDER BY digest
"""
_REPOSITORIES = """
WITH RECURSIVE names(name) AS (
    SELECT min(repository) FROM manifests WHERE repository > ?
    UNION ALL
    SELECT (SELECT min(repository) FROM manifests WHERE repository > name) FROM names WHERE name IS NOT NULL
) SELECT name FROM names WHERE name IS NOT NULL LIMIT ?
"""
"""One step of the index for each name: it never reads through the manifests of a repository."""

_RESOLVE_DIGEST = "SELECT digest, media_type, size, version FROM manifests WHERE repository = ? AND digest = ?"

_MAX_GROUP = 256
"""Writes of one commit; more of them wait for the next."""

_MAX_WAITING = 4096
"""Writes that may wait; a further one is told to come again."""

_BUSY_SECONDS = 10.0

_Waiting = tuple[ManifestWrite, "Future[Version]"]


class SqliteIndexStore:
    """Tags and manifests in one SQLite file."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises: BadConfig, one line, when it cannot be written or is no index.
        """
        self._path = path
        self._writing = _opened(path)  # belongs to the writer thread
        self._reading = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=_BUSY_SECONDS)
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="index-read")
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue()
        self._writer = threading.Thread(target=self._write_loop, name="index-write", daemon=True)
        self._writer.start()
        self._closed = False

    async def put(self, write: ManifestWrite) -> Version:
        if self._closed or self._waiting.qsize() >= _MAX_WAITING:
            raise Unavailable("the index has too many writes to do" if not self._closed else "the index is closing")
        done: Future[Version] = Future()
        self._waiting.put((write, done))
        return await asyncio.wrap_future(done)

    async def resolve(self, repository: RepositoryName, reference: Reference) -> Resolved | None:
        query = _RESOLVE_DIGEST if isinstance(reference, Digest) else _RESOLVE_TAG
        row = await self._read(lambda base: base.execute(query, (str(repository), str(reference))).fetchone())
        if row is None:
            return None
        return Resolved(ManifestRecord(Digest.parse(row[0]), row[1], row[2]), Version.parse(row[3]))

    async def known(self, repository: RepositoryName, digests: Collection[Digest]) -> set[Digest]:
        def look(base: sqlite3.Connection) -> set[Digest]:
            query = "SELECT 1 FROM manifests WHERE repository = ? AND digest = ?"
            return {it for it in digests if base.execute(query, (str(repository), str(it))).fetchone()}

        return await self._read(look)

    async def tags(self, repository: RepositoryName, last: str | None, limit: int) -> Sequence[str] | None:
        def look(base: sqlite3.Connection) -> list[str] | None:
            name = str(repository)
            if not base.execute("SELECT 1 FROM manifests WHERE repository = ? LIMIT 1", (name,)).fetchone():
                return None
            # Text compares bytewise (the collation BINARY); every tag is greater than the empty text.
            query = "SELECT tag FROM tags WHERE repository = ? AND tag > ? ORDER BY tag LIMIT ?"
            return [row[0] for row in base.execute(query, (name, _encodable(last or ""), limit))]

        return await self._read(look)

    async def referrers(self, repository: RepositoryName, subject: Digest) -> Sequence[Referrer]:
        def look(base: sqlite3.Connection) -> list[Referrer]:
            return [_referrer(row) for row in base.execute(_REFERRERS, (str(repository), str(subject)))]

        return await self._read(look)

    async def repositories(self, last: str | None, limit: int) -> Sequence[str]:
        def look(base: sqlite3.Connection) -> list[str]:
            return [row[0] for row in base.execute(_REPOSITORIES, (_encodable(last or ""), limit))]

        return await self._read(look)

    async def close(self) -> None:
        """Finish the writes that wait, then close the file."""
        if self._closed:
            return
        self._closed = True
        self._waiting.put(None)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._writer.join)
        await loop.run_in_executor(self._readers, self._reading.close)
        self._readers.shutdown(wait=True)

    async def _read(self, look: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise Unavailable("the index is closing")
        try:
            return await asyncio.wrap_future(self._readers.submit(look, self._reading))
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
        stored = [_put(base, write) for write, _done in group]
        base.execute("COMMIT")
    except sqlite3.Error as error:
        if base.in_transaction:
            base.execute("ROLLBACK")
        for _write, done in group:
            _resolve(done, _failure(error))
        return
    for (_write, done), version in zip(group, stored, strict=True):
        _resolve(done, version)


def _put(base: sqlite3.Connection, write: ManifestWrite) -> Version:
    name, digest, version = str(write.repository), str(write.record.digest), str(write.version)
    base.execute(_PUT_MANIFEST, (name, digest, write.record.media_type, write.record.size, version, *_about(write)))
    base.executemany(_PUT_TAG, [(name, str(tag), digest, version) for tag in write.tags])
    tags = [base.execute(_RESOLVE_TAG, (name, str(tag))).fetchone()[3] for tag in write.tags]
    manifest = base.execute(_RESOLVE_DIGEST, (name, digest)).fetchone()[3]
    return Version.parse(max([manifest, *tags]))


def _about(write: ManifestWrite) -> tuple[str | None, str | None, str | None]:
    about = write.about
    if about is None:
        return None, None, None
    return str(about.subject), about.artifact_type, msgspec.json.encode(dict(about.annotations)).decode()


def _referrer(row: tuple[str, str, int, str, str]) -> Referrer:
    digest, media_type, size, artifact_type, annotations = row
    record = ManifestRecord(Digest.parse(digest), media_type, size)
    return Referrer(record, artifact_type, msgspec.json.decode(annotations, type=dict[str, str]))


def _resolve(done: Future[Version], outcome: Version | KrakenError) -> None:
    if not done.set_running_or_notify_cancel():
        return  # whoever asked is gone
    if isinstance(outcome, KrakenError):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)


def _failure(error: sqlite3.Error) -> KrakenError:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return OutOfSpace("the disk of the index is full", retry_after=30)
    return Unavailable(f"the index cannot be written: {error}")


def _opened(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        base = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=_BUSY_SECONDS)
        base.execute("PRAGMA journal_mode=WAL")
        base.execute("PRAGMA synchronous=FULL")
        _make_tables(base, path)
    except (OSError, sqlite3.Error) as error:
        raise BadConfig(f"the index cannot open {path}: {_reason(error)}") from error
    return base


def _make_tables(base: sqlite3.Connection, path: Path) -> None:
    version = base.execute("PRAGMA user_version").fetchone()[0]
    if version == _SCHEMA_VERSION:
        return
    if version != 0:
        raise BadConfig(f"{path} was written by another version of the index (schema {version})")
    base.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={_SCHEMA_VERSION}; COMMIT;")


def _reason(error: OSError | sqlite3.Error) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


def _encodable(text: str) -> str:
    """`text` without what cannot be stored as UTF-8; such a mark never equals a tag, but it may order them."""
    return text.encode("utf-8", "replace").decode()
