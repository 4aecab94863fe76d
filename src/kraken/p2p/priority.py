"""How urgent a download is, and in which class what belongs to a swarm waits beside what belongs to others."""

from __future__ import annotations

from enum import IntEnum


class Priority(IntEnum):
    """Why a blob is fetched; the lower number goes first."""

    INTERACTIVE = 1
    """A client waits for it."""
    PREFETCH = 2
    """It will be asked for, and nobody waits yet."""
    BACKGROUND = 3
    """Nobody waits for it any more; it is finished because most of it is here."""


SMALL_RANK = 0
"""The rank of what belongs to a small blob, ahead of every priority: it costs the others next to nothing."""
