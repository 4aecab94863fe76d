"""What an agent has learned of manifests: which tag meant what, and of which type a digest is.

Kept on disk, so that what is cached can be pulled, by tag too, while no index node answers. It is a
memory, not a truth: tags are asked of the index first.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from kraken.core.digest import Digest
from kraken.oci.manifests import ManifestRecord
from kraken.oci.references import Reference, RepositoryName
from kraken.runtime.threads import FileThreads

MAX_ROWS = 100_000
"""Of which the tenth that was learned longest ago goes when it is reached."""

_RECENT = 1024
"""Of which are in memory: a question that is asked for each pull should not wait for a thread."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS known (
  repository TEXT NOT NULL,
  reference TEXT NOT NULL,
  digest TEXT NOT NULL,
  media_type TEXT NOT NULL,
  size INTEGER NOT NULL,
  used INTEGER NOT NULL,
  PRIMARY KEY (repository, reference)
) WITHOUT ROWID
"""


class KnownManifests:
    """A table of manifests by repository and reference. Its file may be deleted at any time.

    `failure` says why what is learned is kept in memory only; None when it lasts.
    """

    def __init__(self, path: Path, threads: FileThreads) -> None:
        self._path = path
        self._threads = threads
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._recent: OrderedDict[tuple[RepositoryName, Reference], ManifestRecord] = OrderedDict()
        self.failure: str | None = None

    async def start(self) -> None:
        """Open the file; a damaged one is begun anew. An agent starts also where there is no room for it."""
        try:
            self._connection = await self._threads.run(self._open, str(self._path))
        except sqlite3.Error as error:
            self._connection = await self._threads.run(self._begin_anew, error)

    async def close(self) -> None:
        if self._connection is not None:
            await self._threads.run(self._close)

    async def get(self, repository: RepositoryName, reference: Reference) -> ManifestRecord | None:
        """What was last learned of a reference; None when nothing was, or the file cannot be read."""
        recent = self._recent.get((repository, reference))
        if recent is not None:
            return recent
        try:
            record = await self._threads.run(self._get, str(repository), str(reference))
        except sqlite3.Error:
            return None
        if record is not None:
            self._remember(repository, reference, record)
        return record

    async def put(self, repository: RepositoryName, reference: Reference, record: ManifestRecord) -> None:
        """Remember what a reference means, and the digest that it leads to; as long as the disk takes it."""
        for known in (reference, record.digest):
            self._remember(repository, known, record)
        with suppress(sqlite3.Error):  # a full disk is no reason to fail a pull: it is asked for again
            await self._threads.run(self._put, str(repository), {str(reference), str(record.digest)}, record)

    def _remember(self, repository: RepositoryName, reference: Reference, record: ManifestRecord) -> None:
        self._recent[repository, reference] = record
        self._recent.move_to_end((repository, reference))
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    def _open(self, path: str) -> sqlite3.Connection:
        connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")  # losing the last entries loses nothing but time
            connection.execute(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin_anew(self, why: sqlite3.Error) -> sqlite3.Connection:
        try:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            return self._open(str(self._path))
        except (sqlite3.Error, OSError):
            self.failure = f"{self._path} cannot be used: {why}"
            return self._open(":memory:")

    def _close(self) -> None:
        with self._lock:  # the caller of a query may be gone, and the query still at work
            self._db.close()
            self._connection = None

    def _get(self, repository: str, reference: str) -> ManifestRecord | None:
        with self._lock:
            row = self._db.execute(
                "SELECT digest, media_type, size FROM known WHERE repository = ? AND reference = ?",
                (repository, reference),
            ).fetchone()
        return None if row is None else ManifestRecord(Digest.parse(row[0]), row[1], row[2])

    def _put(self, repository: str, references: set[str], record: ManifestRecord) -> None:
        about = (str(record.digest), record.media_type, record.size)
        with self._lock:
            (used, rows) = self._db.execute("SELECT coalesce(max(used), 0) + 1, count(*) FROM known").fetchone()
            if rows >= MAX_ROWS:
                self._db.execute(
                    "DELETE FROM known WHERE used <= (SELECT used FROM known ORDER BY used LIMIT 1 OFFSET ?)",
                    (MAX_ROWS // 10,),
                )
            self._db.executemany(
                "INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?, ?, ?)",
                [(repository, reference, *about, used) for reference in sorted(references)],
            )

    @property
    def _db(self) -> sqlite3.Connection:
        assert self._connection is not None, "used between start and close only"
        return self._connection
