"""The rows of an index node as SQL: how a change is applied, and how rows are read.

`written` and `removed` hold versions as text, which sorts as they do; the empty text stands for never.
`removed_at` is when this node heard of the removal, `untagged_at` when a tag went from a manifest to another, in UTC
seconds: only the node's own garbage collection uses them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from typing import TypeVar

import msgspec

from kraken.core.digest import Digest
from kraken.index.records import Entry, NewManifest, TagRows, Write
from kraken.index.versions import Version
from kraken.oci.manifests import ManifestRecord
from kraken.oci.references import Reference, RepositoryName
from kraken.oci.referrers import Referrer

T = TypeVar("T")

SCHEMA_VERSION = 4
SCHEMA = """
CREATE TABLE manifests (
    repository TEXT NOT NULL, digest TEXT NOT NULL, written TEXT NOT NULL DEFAULT '', removed TEXT NOT NULL DEFAULT '',
    removed_at REAL NOT NULL DEFAULT 0, untagged_at REAL NOT NULL DEFAULT 0,
    media_type TEXT NOT NULL DEFAULT '', size INTEGER NOT NULL DEFAULT 0,
    subject TEXT, artifact_type TEXT, annotations TEXT, PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX referrers ON manifests (repository, subject, digest) WHERE subject IS NOT NULL;
CREATE INDEX live_repositories ON manifests (repository) WHERE written > removed;
CREATE INDEX live_manifests ON manifests (digest) WHERE written > removed;
CREATE TABLE tags (
    repository TEXT NOT NULL, tag TEXT NOT NULL, written TEXT NOT NULL DEFAULT '', removed TEXT NOT NULL DEFAULT '',
    removed_at REAL NOT NULL DEFAULT 0, digest TEXT NOT NULL DEFAULT '', PRIMARY KEY (repository, tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_of ON tags (repository, digest);
CREATE TABLE links (
    repository TEXT NOT NULL, digest TEXT NOT NULL, written TEXT NOT NULL DEFAULT '', removed TEXT NOT NULL DEFAULT '',
    removed_at REAL NOT NULL DEFAULT 0, size INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX live_links ON links (digest) WHERE written > removed;
CREATE TABLE needs (
    repository TEXT NOT NULL, manifest TEXT NOT NULL, digest TEXT NOT NULL,
    PRIMARY KEY (repository, manifest, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX removed_manifests ON manifests (removed_at) WHERE removed > written;
CREATE INDEX removed_tags ON tags (removed_at) WHERE removed > written;
CREATE INDEX removed_links ON links (removed_at) WHERE removed > written;
CREATE INDEX needed_by ON needs (repository, digest);
"""

_PUT_MANIFEST = """
INSERT INTO manifests (repository, digest, written, media_type, size, subject, artifact_type, annotations)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    written = max(manifests.written, excluded.written),
    media_type = iif(excluded.written > manifests.written, excluded.media_type, manifests.media_type),
    size = iif(excluded.written > manifests.written, excluded.size, manifests.size),
    subject = coalesce(manifests.subject, excluded.subject),
    artifact_type = coalesce(manifests.artifact_type, excluded.artifact_type),
    annotations = coalesce(manifests.annotations, excluded.annotations)
"""
"""What a manifest is about never changes; but who names it as a child does not say, and may be heard of first."""

_PUT_TAG = """
INSERT INTO tags (repository, tag, written, digest) VALUES (:repository, :tag, :version, :digest)
ON CONFLICT DO UPDATE SET
    written = excluded.written, digest = excluded.digest
WHERE excluded.written > tags.written
"""
_MOVE_TAG = """
UPDATE manifests SET untagged_at = max(untagged_at, left_at)
FROM (
    SELECT digest AS meant, iif(written > removed, :now, removed_at) AS left_at FROM tags
    WHERE repository = :repository AND tag = :tag AND written < :version AND digest != :digest
) WHERE repository = :repository AND digest = meant
"""
"""A tag that was removed before it was set anew left its manifest when it was removed."""

_PUT_LINK = """
INSERT INTO links (repository, digest, written, size) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    written = excluded.written, size = excluded.size
WHERE excluded.written > links.written
"""
_REMOVE = """
INSERT INTO {table} (repository, {key}, removed, removed_at) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    removed = excluded.removed, removed_at = excluded.removed_at
WHERE excluded.removed > {table}.removed
"""
_STANDING = "SELECT max(written, removed) FROM {table} WHERE repository = ? AND {key} = ?"

_TAG = """
SELECT tags.tag, tags.written, max(tags.removed, coalesce(manifests.removed, '')),
    tags.digest, manifests.media_type, manifests.size
FROM tags LEFT JOIN manifests USING (repository, digest) WHERE tags.repository = ? AND
"""
"""A tag is removed with the manifest that it means, unless it was set after that."""

_MANIFEST = "SELECT digest, written, removed, media_type, size FROM manifests WHERE repository = ? AND digest = ?"
_LINK = "SELECT digest, written, removed, size FROM links WHERE repository = ? AND digest = ?"
_REFERRERS = """
SELECT digest, written, removed, media_type, size, artifact_type, annotations FROM manifests
WHERE repository = ? AND subject = ? ORDER BY digest
"""
_REPOSITORIES = """
WITH RECURSIVE names(name) AS (
    SELECT min(repository) FROM manifests WHERE repository > ? AND written > removed
    UNION ALL
    SELECT (SELECT min(repository) FROM manifests WHERE repository > name AND written > removed)
    FROM names WHERE name IS NOT NULL
) SELECT name FROM names WHERE name IS NOT NULL LIMIT ?
"""
"""One step of the index for each name: it never reads through the manifests of a repository."""

_MAX_REMOVED_TAGS = 10_000
"""Removed tags of one answer; where there are more, the answer ends early."""


def apply(base: sqlite3.Connection, write: Write, now: float) -> Version:
    """Bring a change into the tables.

    Args: now, UTC seconds.
    Returns: the greatest version that stands among the rows it is about.
    """
    name, version, touched = str(write.repository), str(write.version), []
    if (new := write.manifest) is not None:
        _put_manifest(base, name, version, new)
        touched.append(("manifests", "digest", str(new.record.digest)))
    for tag, meant in write.tags.items():
        row = {"repository": name, "tag": str(tag), "version": version, "digest": str(meant)}
        base.execute(_MOVE_TAG, {**row, "now": now})
        base.execute(_PUT_TAG, row)
        touched.append(("tags", "tag", str(tag)))
    for child in write.children:
        _put_manifest(base, name, version, NewManifest(child))
        touched.append(("manifests", "digest", str(child.digest)))
    for digest, size in write.links.items():
        base.execute(_PUT_LINK, (name, str(digest), version, size))
        touched.append(("links", "digest", str(digest)))
    removed = write.removed
    for table, key, keys in (
        ("tags", "tag", removed.tags),
        ("manifests", "digest", removed.manifests),
        ("links", "digest", removed.links),
    ):
        for text in map(str, keys):
            base.execute(_REMOVE.format(table=table, key=key), (name, text, version, now))
            touched.append((table, key, text))
    standing = [
        base.execute(_STANDING.format(table=table, key=key), (name, text)).fetchone()[0] for table, key, text in touched
    ]
    return Version.parse(max(standing, default=version))


def resolve(base: sqlite3.Connection, repository: RepositoryName, reference: Reference) -> Entry[ManifestRecord] | None:
    if isinstance(reference, Digest):
        return manifests(base, repository, [reference]).get(reference)
    row = base.execute(f"{_TAG} tag = ?", (str(repository), str(reference))).fetchone()
    if row is None:
        return None
    _tag, written, removed, digest, media_type, size = row
    if written <= removed:
        return Entry(None, Version.parse(removed))
    return Entry(ManifestRecord(Digest.parse(digest), media_type, size), Version.parse(written))


def manifests(
    base: sqlite3.Connection, repository: RepositoryName, digests: Collection[Digest]
) -> dict[Digest, Entry[ManifestRecord]]:
    found: dict[Digest, Entry[ManifestRecord]] = {}
    for digest in digests:
        row = base.execute(_MANIFEST, (str(repository), str(digest))).fetchone()
        if row is not None:
            _digest, written, removed, media_type, size = row
            found[digest] = _entry(written, removed, ManifestRecord(digest, media_type, size))
    return found


def links(
    base: sqlite3.Connection, repository: RepositoryName, digests: Collection[Digest]
) -> dict[Digest, Entry[int]]:
    found: dict[Digest, Entry[int]] = {}
    for digest in digests:
        row = base.execute(_LINK, (str(repository), str(digest))).fetchone()
        if row is not None:
            _digest, written, removed, size = row
            found[digest] = _entry(written, removed, size)
    return found


def used(base: sqlite3.Connection, digests: Iterable[Digest]) -> set[Digest]:
    query = """
    SELECT EXISTS (SELECT 1 FROM links WHERE digest = :digest AND written > removed)
        OR EXISTS (SELECT 1 FROM manifests WHERE digest = :digest AND written > removed)
    """
    return {digest for digest in digests if base.execute(query, {"digest": str(digest)}).fetchone()[0]}


def tags(base: sqlite3.Connection, repository: RepositoryName, last: str | None, limit: int) -> TagRows | None:
    name = str(repository)
    if not base.execute("SELECT 1 FROM manifests WHERE repository = ? LIMIT 1", (name,)).fetchone():
        return None
    living = "SELECT 1 FROM manifests WHERE repository = ? AND written > removed LIMIT 1"
    exists = base.execute(living, (name,)).fetchone() is not None
    # Text compares bytewise (the collation BINARY); every tag is greater than the empty text.
    rows: list[tuple[str, Entry[bool]]] = []
    present = 0
    for row in base.execute(f"{_TAG} tag > ? ORDER BY tag", (name, encodable(last or ""))):
        if present >= limit or len(rows) - present >= _MAX_REMOVED_TAGS:
            return TagRows(rows, more=True, exists=exists)
        rows.append((row[0], _entry(row[1], row[2], value=True)))
        present += row[1] > row[2]
    return TagRows(rows, more=False, exists=exists)


def tags_of(base: sqlite3.Connection, repository: RepositoryName, manifest: Digest) -> list[tuple[str, Entry[bool]]]:
    rows = base.execute(f"{_TAG} tags.digest = ? ORDER BY tag", (str(repository), str(manifest)))
    return [(row[0], _entry(row[1], row[2], value=True)) for row in rows]


def referrers(
    base: sqlite3.Connection, repository: RepositoryName, subject: Digest
) -> list[tuple[Digest, Entry[Referrer]]]:
    found: list[tuple[Digest, Entry[Referrer]]] = []
    for row in base.execute(_REFERRERS, (str(repository), str(subject))):
        text, written, removed, media_type, size, artifact_type, annotations = row
        digest = Digest.parse(text)
        record = ManifestRecord(digest, media_type, size)
        told = msgspec.json.decode(annotations, type=dict[str, str])
        found.append((digest, _entry(written, removed, Referrer(record, artifact_type, told))))
    return found


def repositories(base: sqlite3.Connection, last: str | None, limit: int) -> list[str]:
    return [row[0] for row in base.execute(_REPOSITORIES, (encodable(last or ""), limit))]


def encodable(text: str) -> str:
    """`text` without what cannot be stored as UTF-8; such a mark never equals a tag, but it may order them."""
    return text.encode("utf-8", "replace").decode()


def _put_manifest(base: sqlite3.Connection, name: str, version: str, new: NewManifest) -> None:
    record, digest = new.record, str(new.record.digest)
    subject, artifact_type, annotations = None, None, None
    if new.about is not None:
        subject, artifact_type = str(new.about.subject), new.about.artifact_type
        annotations = msgspec.json.encode(dict(new.about.annotations)).decode()
    base.execute(
        _PUT_MANIFEST,
        (name, digest, version, record.media_type, record.size, subject, artifact_type, annotations),
    )
    # What a digest needs never changes, so these rows have no versions.
    base.executemany("INSERT OR IGNORE INTO needs VALUES (?, ?, ?)", [(name, digest, str(it)) for it in new.needs])


def _entry(written: str, removed: str, value: T) -> Entry[T]:
    return Entry(value, Version.parse(written)) if written > removed else Entry(None, Version.parse(removed))
