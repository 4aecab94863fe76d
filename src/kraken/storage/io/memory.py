"""The store in memory: anonymous files of the kernel, so that `BlobFile` and sendfile work as on disk.

For tests, and for a component that must not touch a disk. What a restart would sweep is never left here.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from kraken.core.digest import Digest
from kraken.core.metainfo import Metainfo
from kraken.storage.io.blob_file import Fingerprint
from kraken.storage.io.files import preallocate, pwrite_all, space_checked
from kraken.storage.io.medium import Found, Opened
from kraken.storage.layout import SessionId

NO_CLAIMS = -1


@dataclass(slots=True)
class _Blob:
    """One blob: descriptors that the medium owns, `claims_fd` only while it is partial."""

    metainfo: Metainfo
    fd: int
    claims_fd: int
    used_at: float
    complete: bool


class MemoryMedium:
    """A `Medium` of memfds. One lock guards its tables, for it is called from several threads."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, _Blob] = {}
        self._uploads: dict[SessionId, int] = {}
        self._guard = threading.Lock()

    def start(self) -> list[Found]:
        with self._guard:
            return [
                Found(digest, blob.metainfo.size, blob.used_at, blob.complete) for digest, blob in self._blobs.items()
            ]

    def close(self) -> None:
        """Nothing to let go of: another store may take this medium at any time."""

    def load(self, digest: Digest, size: int, *, complete: bool, now: float) -> Opened:  # noqa: ARG002 - the shape of the port
        with self._guard:
            blob = self._blobs.get(digest)
            if blob is None or blob.complete is not complete:
                raise FileNotFoundError(str(digest))
            blob.used_at = now
            return _opened(blob)

    def write(self, metainfo: Metainfo, data: bytes) -> Fingerprint:
        fd = _new_file(str(metainfo.digest))
        try:
            with space_checked(f"the {metainfo.size} bytes of {metainfo.digest}"):
                pwrite_all(fd, data, 0)
        except BaseException:
            os.close(fd)
            raise
        with self._guard:
            self._blobs[metainfo.digest] = _Blob(metainfo, fd, NO_CLAIMS, time.time(), complete=True)
        return Fingerprint.of(fd)

    def create(self, metainfo: Metainfo) -> Opened:
        fd = _new_file(str(metainfo.digest))
        try:
            with space_checked(f"room for the {metainfo.size} bytes of {metainfo.digest}"):
                preallocate(fd, metainfo.size)
        except BaseException:
            os.close(fd)
            raise
        blob = _Blob(metainfo, fd, _new_claims(metainfo, 0), time.time(), complete=False)
        with self._guard:
            self._blobs[metainfo.digest] = blob
            return _opened(blob)

    def commit(self, metainfo: Metainfo, fd: int) -> None:  # noqa: ARG002 - the shape of the port
        with self._guard:
            blob = self._blobs[metainfo.digest]
            os.close(blob.claims_fd)
            blob.claims_fd, blob.complete = NO_CLAIMS, True

    def demote(self, metainfo: Metainfo, held: int) -> int:
        with self._guard:
            blob = self._blobs[metainfo.digest]
            blob.claims_fd, blob.complete = _new_claims(metainfo, held), False
            return os.dup(blob.claims_fd)

    def set_aside(self, digest: Digest, size: int, *, complete: bool, stamp: int) -> None:  # noqa: ARG002 - the shape of the port
        """There is no operator to look at bytes in memory: they go."""
        self.delete(digest, size, complete=complete)

    def delete(self, digest: Digest, size: int, *, complete: bool) -> None:  # noqa: ARG002 - the shape of the port
        with self._guard:
            blob = self._blobs.pop(digest, None)
        if blob is not None:
            os.close(blob.fd)
            if blob.claims_fd != NO_CLAIMS:
                os.close(blob.claims_fd)

    def create_upload(self, session: SessionId) -> None:
        with self._guard:
            if session not in self._uploads:
                self._uploads[session] = _new_file(session)

    def open_upload(self, session: SessionId) -> int:
        with self._guard:
            if session not in self._uploads:
                raise FileNotFoundError(session)
            return os.dup(self._uploads[session])

    def delete_upload(self, session: SessionId) -> bool:
        with self._guard:
            fd = self._uploads.pop(session, None)
        if fd is None:
            return False
        os.close(fd)
        return True

    def uploads(self) -> Iterable[tuple[SessionId, float]]:
        with self._guard:
            return [(session, os.fstat(fd).st_mtime) for session, fd in self._uploads.items()]

    def adopt_upload(self, session: SessionId, metainfo: Metainfo) -> None:
        with self._guard:
            fd = self._uploads.pop(session)
            self._blobs[metainfo.digest] = _Blob(metainfo, fd, NO_CLAIMS, time.time(), complete=True)


def _opened(blob: _Blob) -> Opened:
    count = blob.metainfo.pieces.count
    if blob.complete:
        return Opened(os.dup(blob.fd), NO_CLAIMS, blob.metainfo, (1 << count) - 1)
    claims = os.pread(blob.claims_fd, count, 0)
    claimed = sum(1 << piece for piece, claim in enumerate(claims) if claim)
    return Opened(os.dup(blob.fd), os.dup(blob.claims_fd), blob.metainfo, claimed)


def _new_claims(metainfo: Metainfo, held: int) -> int:
    fd = _new_file(f"{metainfo.digest}.pieces")
    os.pwrite(fd, bytes(held >> piece & 1 for piece in metainfo.pieces.indices()), 0)
    return fd


def _new_file(name: str) -> int:
    return os.memfd_create(name[:200], os.MFD_CLOEXEC)
