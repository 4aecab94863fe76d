"""Blocking file operations with the promises that a store needs: whole, durable, honest about space."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from kraken.core.errors import Corrupt, OutOfSpace
from kraken.core.pieces import MIB

STEP = MIB
"""Bytes read at once: larger steps gain nothing measurable, and memory is steps times threads."""

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_per_thread = threading.local()


class Absorbs(Protocol):
    """Anything that hashes a stream."""

    def update(self, data: memoryview, /) -> None: ...


@contextmanager
def space_checked(what: str) -> Iterator[None]:
    """Turn "no space left" into OutOfSpace; `what` says in the message what could not be done."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise OutOfSpace(f"{what}: {os.strerror(error.errno or 0)}", retry_after=30.0) from error
        raise


def step_buffer() -> memoryview:
    """A buffer of `STEP` bytes that belongs to this thread until it calls again."""
    buffer: memoryview | None = getattr(_per_thread, "buffer", None)
    if buffer is None:
        buffer = _per_thread.buffer = memoryview(bytearray(STEP))
    return buffer


def pread_into(fd: int, view: memoryview, offset: int) -> int:
    """Fill `view` from `offset`; fewer bytes come back only at the end of the file."""
    done = 0
    while done < len(view):
        got = os.preadv(fd, [view[done:]], offset + done)
        if got == 0:
            break
        done += got
    return done


def pwrite_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`, although a call may take only a part."""
    done = os.pwrite(fd, data, offset)
    while done < len(data):
        done += os.pwrite(fd, memoryview(data)[done:], offset + done)


def steps_of(fd: int, start: int, stop: int) -> Iterator[memoryview]:
    """The bytes start <= i < stop in views of at most `STEP`, each valid until the next.

    Raises: Corrupt, when the file ends before `stop`.
    """
    buffer = step_buffer()
    while start < stop:
        view = buffer[: min(STEP, stop - start)]
        got = pread_into(fd, view, start)
        if got < len(view):
            raise Corrupt(f"the file ends at byte {start + got}, it should have {stop}")
        yield view
        start += len(view)


def hash_span(fd: int, start: int, stop: int, *hashers: Absorbs) -> None:
    """Feed the bytes start <= i < stop to every hasher."""
    for view in steps_of(fd, start, stop):
        for hasher in hashers:
            hasher.update(view)


def preallocate(fd: int, size: int) -> None:
    """Reserve the blocks of a file now, so that a full disk shows before the download and not within it."""
    if size:
        os.posix_fallocate(fd, 0, size)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: Path) -> None:
    """Make the bytes of a file durable."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def ensure_directory(path: Path) -> None:
    """Make a directory and its parents, their names durable as well."""
    if path.is_dir():
        return
    ensure_directory(path.parent)
    with suppress(FileExistsError):
        path.mkdir()
    sync_directory(path.parent)


def move_durably(source: Path, target: Path) -> None:
    """Rename within one file system; when this returns, a crash cannot undo it."""
    ensure_directory(target.parent)
    source.rename(target)
    sync_directory(target.parent)
