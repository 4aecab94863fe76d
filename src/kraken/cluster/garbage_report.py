"""What a node's garbage collection found: the same report from index nodes and from origins."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import msgspec

MAX_LISTED = 10_000
"""Findings that a report lists one by one; those beyond are only counted."""


class Finding(msgspec.Struct, frozen=True):
    """Something that may go. `kind` is tag, manifest, blob (of a repository) or bytes (of a digest, at an origin)."""

    kind: str
    repository: str
    name: str
    size: int
    age_seconds: float
    reason: str


class GarbageReport(msgspec.Struct, frozen=True):
    """What one node found. `counts` and `sizes` (bytes) are by kind, and of everything; `removed` says if it went."""

    removed: bool
    counts: dict[str, int]
    sizes: dict[str, int]
    listed: list[Finding]


@dataclass(slots=True)
class Tally:
    """Gathers findings into a report."""

    _counts: Counter[str] = field(default_factory=Counter)
    _sizes: Counter[str] = field(default_factory=Counter)
    _listed: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        self._counts[finding.kind] += 1
        self._sizes[finding.kind] += finding.size
        if len(self._listed) < MAX_LISTED:
            self._listed.append(finding)

    def report(self, *, removed: bool) -> GarbageReport:
        return GarbageReport(removed, dict(self._counts), dict(self._sizes), self._listed)
