"""What of an index node's rows is garbage, and why; as SQL over its tables.

A link is garbage when no manifest of its repository needs the blob. Everything is given a time of grace: a blob
that was just uploaded waits for its manifest, and what a manifest needed may still be being pulled.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from kraken.core.digest import Digest
from kraken.index.records import Removal, Write
from kraken.index.retention import DatedTag, RetentionRule, expired_tags
from kraken.index.versions import Version
from kraken.oci.references import RepositoryName, Tag


class Kind(Enum):
    """What kind of row."""

    TAG = "tag"
    MANIFEST = "manifest"
    LINK = "blob"


@dataclass(frozen=True, slots=True)
class Garbage:
    """A row that may go. `size` is bytes of what it names, 0 for a tag; `version`, the write that made it."""

    kind: Kind
    repository: RepositoryName
    name: str
    size: int
    version: Version
    reason: str

    def removal(self) -> Write:
        """The change that removes it, unless somebody writes it meanwhile."""
        match self.kind:
            case Kind.TAG:
                removed = Removal(tags=(Tag(self.name),))
            case Kind.MANIFEST:
                removed = Removal(manifests=(Digest.parse(self.name),))
            case Kind.LINK:
                removed = Removal(links=(Digest.parse(self.name),))
        return Write(self.repository, self.version.collected, removed=removed)


_UNNEEDED_LINKS = """
SELECT repository, digest, size, written FROM links
WHERE written > removed AND written < :written_before AND NOT EXISTS (
    SELECT 1 FROM needs JOIN manifests AS holder
        ON holder.repository = needs.repository AND holder.digest = needs.manifest
    WHERE needs.repository = links.repository AND needs.digest = links.digest
        AND (holder.written > holder.removed OR holder.removed_at >= :before)
) LIMIT :limit
"""
_UNTAGGED_MANIFESTS = """
SELECT repository, digest, size, written FROM manifests AS lone
WHERE written > removed AND written < :written_before AND untagged_at < :before AND NOT EXISTS (
    SELECT 1 FROM tags WHERE tags.repository = lone.repository AND tags.digest = lone.digest
        AND tags.written > lone.removed AND (tags.written > tags.removed OR tags.removed_at >= :before)
) AND NOT EXISTS (
    SELECT 1 FROM needs JOIN manifests AS holder
        ON holder.repository = needs.repository AND holder.digest = needs.manifest
    WHERE needs.repository = lone.repository AND needs.digest = lone.digest
        AND (holder.written > holder.removed OR holder.removed_at >= :before)
) AND NOT EXISTS (
    SELECT 1 FROM manifests AS subject
    WHERE subject.repository = lone.repository AND subject.digest = lone.subject
        AND (subject.written > subject.removed OR subject.removed_at >= :before)
) LIMIT :limit
"""
_TAGS = """
SELECT tags.tag, tags.written FROM tags JOIN manifests USING (repository, digest)
WHERE tags.repository = ? AND tags.written > tags.removed AND tags.written > manifests.removed
"""
_REPOSITORIES_WITH_TAGS = "SELECT DISTINCT repository FROM tags"

_FORGET = """
DELETE FROM tags WHERE removed > written AND removed_at < {before};
DELETE FROM links WHERE removed > written AND removed_at < {before};
DELETE FROM tags WHERE (repository, tag) IN (
    SELECT tags.repository, tags.tag FROM manifests INDEXED BY removed_manifests JOIN tags USING (repository, digest)
    WHERE manifests.removed > manifests.written AND manifests.removed_at < {before}
);
DELETE FROM needs WHERE (repository, manifest) IN (
    SELECT repository, digest FROM manifests WHERE removed > written AND removed_at < {before}
);
DELETE FROM manifests WHERE removed > written AND removed_at < {before};
"""


def unneeded_links(base: sqlite3.Connection, *, before: float, limit: int) -> list[Garbage]:
    """Links older than `before` (UTC seconds) that nothing has needed since then."""
    rows = base.execute(_UNNEEDED_LINKS, {"before": before, "written_before": _text(before), "limit": limit})
    return [_garbage(Kind.LINK, row, "no manifest of the repository needs it") for row in rows]


def untagged_manifests(base: sqlite3.Connection, *, before: float, limit: int) -> list[Garbage]:
    """Manifests older than `before` that since then no tag has meant, no index held, and no subject kept."""
    rows = base.execute(_UNTAGGED_MANIFESTS, {"before": before, "written_before": _text(before), "limit": limit})
    return [_garbage(Kind.MANIFEST, row, "no tag means it and no index holds it") for row in rows]


def expired(base: sqlite3.Connection, *, rules: Sequence[RetentionRule], now: float, limit: int) -> list[Garbage]:
    """The tags that no retention rule keeps, of those that one is about. Args: now, UTC seconds."""
    found: list[Garbage] = []
    names = [row[0] for row in base.execute(_REPOSITORIES_WITH_TAGS)] if rules else []
    for name in names:
        if not any(rule.is_about_repository(name) for rule in rules):
            continue
        written = {tag: Version.parse(text) for tag, text in base.execute(_TAGS, (name,))}
        dated = [DatedTag(tag, version.milliseconds / 1000) for tag, version in written.items()]
        for tag, rule in expired_tags(rules, name, dated, now).items():
            found.append(Garbage(Kind.TAG, RepositoryName(name), tag, 0, written[tag], _why(rule)))
            if len(found) == limit:
                return found
    return found


def forget(base: sqlite3.Connection, before: float) -> None:
    """Drop the rows whose removal this node heard of before that time (UTC seconds): all others have, by then."""
    for statement in _FORGET.format(before=float(before)).split(";"):
        base.execute(statement)


def _garbage(kind: Kind, row: tuple[str, str, int, str], reason: str) -> Garbage:
    repository, name, size, written = row
    return Garbage(kind, RepositoryName(repository), name, size, Version.parse(written), reason)


def _why(rule: RetentionRule) -> str:
    kept = [f"the last {rule.keep_last}"] if rule.keep_last else []
    kept += [f"{rule.keep_seconds:g} seconds"] if rule.keep_seconds else []
    return f"the rule for {rule.repositories} keeps {' and '.join(kept)} of {rule.tags}"


def _text(seconds: float) -> str:
    """What all versions from that time on are greater than, as text."""
    return f"{max(0, int(seconds * 1000)):012x}"
