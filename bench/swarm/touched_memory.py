"""Memory that the machine has already, for what a crowd writes.

A virtual machine that gives free memory back to its host gets it anew page by page when something is written, here for
1.8 CPU s/GB where 0.1 are the writing: with fifty hosts that is a fifth of two cores. No host of a fleet that a crowd
stands for shares its memory with forty-nine others. So their files are in memory of huge pages, and as much other
memory is touched before, and let go just ahead of what they write: what was free for two seconds is given back.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.swarm.namespaces import unshare
from kraken.core.pieces import KIB, MIB

_NEW_MOUNTS = 0x00020000  # CLONE_NEWNS, of sched.h
_AHEAD = 32 * MIB
_LOOK_SECONDS = 0.05


def available() -> int:
    """Bytes that may be taken without harm to others, as the kernel sees it."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * KIB for line in lines if line.startswith("MemAvailable:"))


def have_own_mounts() -> None:
    """From here on what this process mounts is seen by it and its children only, and gone with them.

    Raises: PermissionError, unless it is root who asks.
    """
    unshare(_NEW_MOUNTS)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


@contextmanager
def files_in_memory(folder: Path) -> Iterator[None]:
    """Let what is written to the folder be in huge pages of memory. Raises: CalledProcessError."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "huge=always,size=100%", "none", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class TouchedMemory:
    """So many bytes, of which the machine has every page."""

    def __init__(self, size: int) -> None:
        self._held = mmap.mmap(-1, -(-size // (2 * MIB)) * 2 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._held.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, len(self._held), mmap.PAGESIZE):
            self._held[at] = 1

    async def let_go_ahead_of(self, folder: Path) -> None:
        """Until all is gone, or this is cancelled: let go of what is written to a folder that is in memory."""
        before, gone = _used(folder), 0
        try:
            while gone < len(self._held):
                wanted = _used(folder) - before + _AHEAD
                stop = min(wanted // (2 * MIB) * 2 * MIB, len(self._held))
                if stop > gone:
                    self._held.madvise(mmap.MADV_DONTNEED, gone, stop - gone)
                    gone = stop
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            self._held.close()


def _used(folder: Path) -> int:
    about = os.statvfs(folder)
    return (about.f_blocks - about.f_bfree) * about.f_frsize
