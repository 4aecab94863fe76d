"""The store on disk, laid out as `storage.layout` says.

A complete blob appears under `blobs/` by one rename of a file whose bytes and metainfo are durable, so
that a crash at any moment leaves whole blobs only; a start sweeps everything else that was under way.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from kraken.core.digest import Digest
from kraken.core.errors import BadConfig, Corrupt, Invalid, OutOfSpace
from kraken.core.metainfo import Metainfo, SwarmId, metainfo_from_blocks, swarm_id
from kraken.core.pieces import piece_length_for
from kraken.storage.hashing import BlockHasher, combine
from kraken.storage.io.blob_file import Fingerprint
from kraken.storage.io.files import (
    ensure_directory,
    move_durably,
    preallocate,
    pwrite_all,
    space_checked,
    steps_of,
    sync_directory,
    sync_file,
)
from kraken.storage.io.medium import Found, Opened
from kraken.storage.layout import (
    CLAIMS_SUFFIX,
    Layout,
    SessionId,
    digest_of_blob,
    digest_of_partial,
    session_id,
    swarm_of_metainfo,
)

QUARANTINE_KEPT = 16
"""Files. Older ones go at a start: quarantine is evidence for an operator, not a second store."""

_READ_WRITE = os.O_RDWR | os.O_CLOEXEC


class DiskMedium:
    """A `Medium` of files below one directory, which it locks against a second process. Uploads survive a restart."""

    def __init__(self, root: Path) -> None:
        self._layout = Layout(root)
        self._lock_fd = -1

    def start(self) -> list[Found]:
        layout = self._layout
        try:
            for directory in layout.directories():
                ensure_directory(directory)
            self._take_lock()
        except OSError as error:
            raise BadConfig(f"data directory {layout.root} cannot be used: {error.strerror}") from error
        _empty(layout.new)
        complete = list(self._complete_blobs())
        partial = list(self._usable_partials({found.digest for found in complete}))
        known = {_swarm_of(found.digest, found.size) for found in complete + partial}
        self._sweep_metainfo(known)
        self._sweep_quarantine()
        return complete + partial

    def close(self) -> None:
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def load(self, digest: Digest, size: int, *, complete: bool, now: float) -> Opened:
        fd = os.open(self._layout.blob(digest) if complete else self._layout.partial(digest), _READ_WRITE)
        try:
            _note_use(fd, digest, size, now)
            if complete:
                metainfo = self._metainfo_of(digest, size) or self._rebuilt_metainfo(digest, size, fd)
                return Opened(fd, -1, metainfo, (1 << metainfo.pieces.count) - 1)
            return self._load_claims(digest, size, fd)
        except BaseException:
            os.close(fd)
            raise

    def write(self, metainfo: Metainfo, data: bytes) -> Fingerprint:
        target = self._layout.blob(metainfo.digest)
        draft = self._layout.new / target.name
        with space_checked(f"the {metainfo.size} bytes of {metainfo.digest}"):
            fd = os.open(draft, _READ_WRITE | os.O_CREAT | os.O_TRUNC, 0o644)
            try:
                pwrite_all(fd, data, 0)
                self._keep_metainfo(metainfo)
                os.fsync(fd)
                move_durably(draft, target)
                return Fingerprint.of(fd)
            finally:
                os.close(fd)
                draft.unlink(missing_ok=True)

    def create(self, metainfo: Metainfo) -> Opened:
        digest = metainfo.digest
        try:
            with space_checked(f"room for the {metainfo.size} bytes of {digest}"):
                self._write_metainfo(metainfo)
                fd = os.open(self._layout.partial(digest), _READ_WRITE | os.O_CREAT | os.O_TRUNC, 0o644)
                try:
                    preallocate(fd, metainfo.size)
                    claims_fd = self._create_claims(metainfo, 0)
                except BaseException:
                    os.close(fd)
                    raise
        except OutOfSpace:
            self.delete(digest, metainfo.size, complete=False)
            raise
        return Opened(fd, claims_fd, metainfo, 0)

    def commit(self, metainfo: Metainfo, fd: int) -> None:
        layout, digest = self._layout, metainfo.digest
        with space_checked(f"commit of {digest}"):
            if not _is_rebuilt_easily(metainfo):
                self._make_metainfo_durable(metainfo)
            os.fsync(fd)
            move_durably(layout.partial(digest), layout.blob(digest))
        layout.claims(digest).unlink(missing_ok=True)

    def demote(self, metainfo: Metainfo, held: int) -> int:
        layout, digest = self._layout, metainfo.digest
        with space_checked(f"repair of {digest}"):
            claims_fd = self._create_claims(metainfo, held)
            layout.blob(digest).rename(layout.partial(digest))
            sync_directory(layout.partials)
        return claims_fd

    def set_aside(self, digest: Digest, size: int, *, complete: bool, stamp: int) -> None:
        layout = self._layout
        source = layout.blob(digest) if complete else layout.partial(digest)
        with suppress(FileNotFoundError):
            move_durably(source, layout.quarantined(digest, stamp))
        self.delete(digest, size, complete=complete)

    def delete(self, digest: Digest, size: int, *, complete: bool) -> None:
        layout = self._layout
        if complete:
            layout.blob(digest).unlink(missing_ok=True)
        else:
            layout.partial(digest).unlink(missing_ok=True)
            layout.claims(digest).unlink(missing_ok=True)
        layout.metainfo(_swarm_of(digest, size)).unlink(missing_ok=True)

    def create_upload(self, session: SessionId) -> None:
        with space_checked(f"upload {session}"):
            os.close(os.open(self._layout.upload(session), _READ_WRITE | os.O_CREAT, 0o644))

    def open_upload(self, session: SessionId) -> int:
        return os.open(self._layout.upload(session), _READ_WRITE)

    def delete_upload(self, session: SessionId) -> bool:
        try:
            self._layout.upload(session).unlink()
        except FileNotFoundError:
            return False
        return True

    def uploads(self) -> Iterable[tuple[SessionId, float]]:
        found = []
        with os.scandir(self._layout.uploads) as files:
            for file in files:
                with suppress(Invalid, FileNotFoundError):
                    found.append((session_id(file.name), file.stat().st_mtime))
        return found

    def adopt_upload(self, session: SessionId, metainfo: Metainfo) -> None:
        source = self._layout.upload(session)
        with space_checked(f"commit of {metainfo.digest}"):
            self._keep_metainfo(metainfo)
            sync_file(source)
            move_durably(source, self._layout.blob(metainfo.digest))

    def _take_lock(self) -> None:
        fd = os.open(self._layout.root / "lock", _READ_WRITE | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel drops it with the process
        except BlockingIOError:
            os.close(fd)
            raise BadConfig(f"data directory {self._layout.root} is in use by another process") from None
        self._lock_fd = fd

    def _complete_blobs(self) -> Iterator[Found]:
        for path in self._layout.blobs.glob("*/*/*"):
            digest = digest_of_blob(path)
            if digest is not None and path.is_file():
                stat = path.stat()
                sure = self._layout.metainfo(_swarm_of(digest, stat.st_size)).is_file()
                yield Found(digest, stat.st_size, stat.st_atime, complete=True, sure=sure)

    def _usable_partials(self, complete: set[Digest]) -> Iterator[Found]:
        """The partial blobs that can go on; the files of all others are removed."""
        usable = set()
        for path in self._layout.partials.iterdir():
            digest = digest_of_partial(path.name)
            if digest is None or digest in complete:
                continue
            stat = path.stat()
            if self._metainfo_of(digest, stat.st_size) is not None:
                usable |= {path.name, path.name + CLAIMS_SUFFIX}
                yield Found(digest, stat.st_size, stat.st_atime, complete=False)
        for path in self._layout.partials.iterdir():
            if path.name not in usable:
                path.unlink()

    def _sweep_metainfo(self, known: set[SwarmId]) -> None:
        for path in self._layout.metainfos.glob("*/*"):
            if swarm_of_metainfo(path.name) not in known:
                path.unlink()

    def _sweep_quarantine(self) -> None:
        for path in sorted(self._layout.quarantine.iterdir())[:-QUARANTINE_KEPT]:
            path.unlink()

    def _load_claims(self, digest: Digest, size: int, fd: int) -> Opened:
        metainfo = self._metainfo_of(digest, size)
        if metainfo is None:
            raise Corrupt(f"the metainfo of the partial blob {digest} is gone")
        claims_fd = os.open(self._layout.claims(digest), _READ_WRITE | os.O_CREAT, 0o644)
        claims = os.pread(claims_fd, metainfo.pieces.count, 0)
        claimed = sum(1 << piece for piece, claim in enumerate(claims) if claim)
        return Opened(fd, claims_fd, metainfo, claimed)

    def _create_claims(self, metainfo: Metainfo, held: int) -> int:
        claims_fd = os.open(self._layout.claims(metainfo.digest), _READ_WRITE | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.pwrite(claims_fd, bytes(held >> piece & 1 for piece in metainfo.pieces.indices()), 0)
        except BaseException:
            os.close(claims_fd)
            raise
        return claims_fd

    def _metainfo_of(self, digest: Digest, size: int) -> Metainfo | None:
        """The stored metainfo of a blob; None when it is missing or is not what it should be."""
        try:
            metainfo = Metainfo.decode(self._layout.metainfo(_swarm_of(digest, size)).read_bytes())
        except (FileNotFoundError, Invalid):
            return None
        return metainfo if (metainfo.digest, metainfo.size) == (digest, size) else None

    def _rebuilt_metainfo(self, digest: Digest, size: int, fd: int) -> Metainfo:
        """Metainfo of a complete blob that lost its own, by hashing all of it. Raises: Corrupt."""
        hasher, blocks = digest.algorithm.hasher(), BlockHasher()
        for view in steps_of(fd, 0, size):
            hasher.update(view)
            blocks.update(view)
        if hasher.hexdigest() != digest.encoded:
            raise Corrupt(f"the file of {digest} has another digest")
        metainfo = metainfo_from_blocks(digest, size, blocks.block_hashes(), combine)
        with space_checked(f"metainfo of {digest}"):
            self._keep_metainfo(metainfo)
        return metainfo

    def _keep_metainfo(self, metainfo: Metainfo) -> None:
        if not _is_rebuilt_easily(metainfo):
            self._write_metainfo(metainfo)
            self._make_metainfo_durable(metainfo)

    def _write_metainfo(self, metainfo: Metainfo) -> None:
        """Put the metainfo in place, whole at any moment; durable only after `_make_metainfo_durable`."""
        name = metainfo.swarm.hex()
        target = self._layout.metainfo(metainfo.swarm)
        draft = self._layout.new / name
        try:
            draft.write_bytes(metainfo.encode())
            ensure_directory(target.parent)
            draft.rename(target)
        finally:
            draft.unlink(missing_ok=True)

    def _make_metainfo_durable(self, metainfo: Metainfo) -> None:
        path = self._layout.metainfo(metainfo.swarm)
        sync_file(path)
        sync_directory(path.parent)


def _swarm_of(digest: Digest, size: int) -> SwarmId:
    return swarm_id(digest, size, piece_length_for(size))


def _is_rebuilt_easily(metainfo: Metainfo) -> bool:
    """To hash a blob of one piece when it is opened costs less than the two syncs that keep its metainfo."""
    return metainfo.pieces.count <= 1


def _note_use(fd: int, digest: Digest, size: int, now: float) -> None:
    """Let the last use survive a restart, as atime. Raises: Corrupt, when the file has another size by now."""
    stat = os.fstat(fd)
    if stat.st_size != size:
        raise Corrupt(f"the file of {digest} has {stat.st_size} bytes, it had {size}")
    os.utime(fd, ns=(int(now * 1e9), stat.st_mtime_ns))  # mtime stays: it is part of the fingerprint


def _empty(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()
