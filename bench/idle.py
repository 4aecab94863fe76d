"""Resident memory of each component that has started and does nothing."""

from __future__ import annotations

import time

from bench.figures import Figure
from bench.lab import MIB, Member, rss_bytes


def measure(members: list[Member]) -> list[Figure]:
    """Mark: an agent has at most 70 MiB."""
    time.sleep(5)  # a few rounds of probes
    kinds = dict.fromkeys(member.kind for member in members)
    sizes = {kind: tuple(rss_bytes(m.pid) / MIB for m in members if m.kind == kind) for kind in kinds}
    return [
        Figure("idle", f"{kind}, RSS", "MiB", size, 70.0 if kind == "agent" else None) for kind, size in sizes.items()
    ]
