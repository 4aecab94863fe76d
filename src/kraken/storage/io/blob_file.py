"""One open blob, complete or with holes: what servers read from and downloads write to.

Work happens on a descriptor, so `sendfile` and `pread` go straight to the kernel and nothing is mapped:
memory stays small whatever the size of the blob. State (`held`, the verified set) changes on the loop
only; threads hash, read and write. A piece is served only after `verify` said so.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Protocol, TypeVar

from blake3 import blake3

from kraken.core.errors import Corrupt
from kraken.core.metainfo import Metainfo
from kraken.core.pieces import BLOCK_LENGTH, PieceIndex
from kraken.runtime.threads import FileThreads
from kraken.storage.hashing import Verify, combine, piece_hash
from kraken.storage.io.files import pread_into, pwrite_all, space_checked, steps_of
from kraken.storage.io.front_hash import FrontHash
from kraken.storage.io.jobs import finished

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What changes when somebody changes a file: enough to know that a piece must be hashed again."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, fd: int) -> Fingerprint:
        stat = os.fstat(fd)
        return cls(stat.st_ino, stat.st_size, stat.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Verified:
    """The pieces that this process has hashed in the file that had this fingerprint. Bit i = piece i."""

    fingerprint: Fingerprint
    pieces: int


class Keeper(Protocol):
    """The store that a blob file belongs to, as the file sees it. Called on the loop."""

    def closing(self, blob: BlobFile) -> None:
        """The last user is gone; the descriptor closes when this returns."""
        ...

    def found_corrupt(self, blob: BlobFile, piece: PieceIndex) -> None:
        """A held piece did not have its hash, and is held no more."""
        ...


class BlobFile:
    """An open blob. Use it within a reference: `acquire()` and `release()`, or `with`.

    `held` is a bit set, bit i = piece i is on disk as far as is known. `fd` is open for reading and
    writing, and stays the same while a reference lasts.
    """

    def __init__(
        self,
        fd: int,
        claims_fd: int,
        metainfo: Metainfo,
        threads: FileThreads,
        keeper: Keeper,
        *,
        held: int,
        committed: bool,
        known: Verified | None = None,
        verify: Verify = Verify.BLOB,
    ) -> None:
        """Take over an open file.

        Args: claims_fd, the open record of written pieces, or -1 for a complete blob; committed, whether
        it lies among the complete blobs; known, what was verified when the file was last closed; verify, what makes
        a download a complete blob.
        """
        self.fd = fd
        self.metainfo = metainfo
        self.held = held
        self._claims_fd = claims_fd
        self._threads = threads
        self._keeper = keeper
        self._committed = committed
        self._users = 0
        self._fingerprint = Fingerprint.of(fd)
        self._verified = known.pieces & held if known and known.fingerprint == self._fingerprint else 0
        self._checks: dict[PieceIndex, asyncio.Future[bool]] = {}
        self._front = FrontHash(metainfo.digest) if verify is Verify.BLOB else None

    @property
    def size(self) -> int:
        """Bytes of the whole blob."""
        return self.metainfo.size

    @property
    def every_piece(self) -> int:
        """The bit set of a blob without holes."""
        return (1 << self.metainfo.pieces.count) - 1

    @property
    def committed(self) -> bool:
        """Whether the file lies among the complete blobs; it may have lost pieces since."""
        return self._committed

    @property
    def complete(self) -> bool:
        """Whether this is a blob that passed its digest check, with no piece found bad since."""
        return self._committed and self.held == self.every_piece

    @property
    def in_use(self) -> bool:
        return self._users > 0

    @property
    def frontier(self) -> int:
        """Bytes from the start of the blob without a hole."""
        pieces = (~self.held & (self.held + 1)).bit_length() - 1  # the lowest bit that is not set
        return min(pieces * self.metainfo.pieces.piece_length, self.size)

    def acquire(self) -> None:
        """Take one more reference."""
        self._users += 1

    def release(self) -> None:
        """Give one reference back; with the last one the descriptor closes."""
        self._users -= 1
        if self._users == 0:
            self._keeper.closing(self)
            os.close(self.fd)
            if self._claims_fd >= 0:
                os.close(self._claims_fd)

    def __enter__(self) -> BlobFile:
        """Within the block the reference that the caller already has is used; it ends with the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    async def verify(self, piece: PieceIndex) -> bool:
        """Whether the piece may be served: it is held, and its bytes have their BLAKE3 hash.

        It is hashed once for as long as the file does not change. A piece that fails leaves `held`,
        and the blob counts as partial from then on.
        """
        self._forget_if_changed()
        bit = 1 << piece
        if not self.held & bit:
            return False
        if self._verified & bit:
            return True
        check = self._checks.get(piece)
        if check is None:
            check = self._start_check(piece)
        return await asyncio.shield(check)

    def is_verified(self, piece: PieceIndex) -> bool:
        """Whether `verify` would say yes at once; False says nothing."""
        self._forget_if_changed()
        return bool(self.held & self._verified & 1 << piece)

    async def verified_up_to(self, start: int, stop: int) -> int:
        """How far from `start`, at most to `stop`, bytes may be served; `start` itself when it is in a bad piece."""
        pieces = self.metainfo.pieces
        ready = start
        while ready < stop:
            piece = PieceIndex(ready // pieces.piece_length)
            if not await self.verify(piece):
                break
            ready = min(pieces.start(piece) + pieces.size(piece), stop)
        return ready

    async def verify_held(self) -> None:
        """Hash every held piece that this process has not hashed yet; those that fail leave `held`."""
        for piece in self.metainfo.pieces.indices():
            if self.held >> piece & 1:
                await self.verify(piece)

    async def write_piece(self, piece: PieceIndex, view: memoryview) -> bool:
        """Put a piece that came from outside in its place.

        Returns: False when the bytes do not have the piece's hash; nothing was written then.
        Raises: OutOfSpace.
        `view` may be reused when this returns or raises, a cancellation included.
        """
        return await finished(self.start_write(piece, view))

    def start_write(self, piece: PieceIndex, view: memoryview) -> asyncio.Future[bool]:
        """`write_piece` without waiting: `view` may be reused when the outcome is there, and `held` is as it says."""
        if self.held >> piece & 1:
            there: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            there.set_result(True)
            return there
        self.acquire()
        outcome = self._threads.submit(self._check_and_write, piece, view)
        outcome.add_done_callback(partial(self._written, piece))
        return outcome

    def _written(self, piece: PieceIndex, outcome: asyncio.Future[bool]) -> None:
        if not outcome.cancelled() and outcome.exception() is None and outcome.result():
            self.held |= 1 << piece
            self._verified |= 1 << piece
        self.release()

    async def read(self, start: int, length: int) -> bytes:
        """The bytes start <= i < start + length. Raises: Corrupt, when the file is shorter."""
        return await self._run(self._read, start, length)

    def pread_into(self, view: memoryview, offset: int) -> int:
        """Fill `view` from `offset`, blocking; returns how many bytes there were."""
        return pread_into(self.fd, view, offset)

    @property
    def has_more_to_hash(self) -> bool:
        """Whether `hash_to_frontier` would do anything now."""
        return self._front is not None and self._front.hashed < self.frontier

    async def hash_to_frontier(self) -> None:
        """Bring the whole-blob hash up to the first hole. What `write_piece` saw in order costs nothing."""
        while self._front is not None and self.has_more_to_hash:
            await self._run(self._front.hash_on, self.fd, self.frontier)

    def digest_matches(self) -> bool:
        """Whether the whole blob has its digest, or nobody asks that of it.

        Only after `hash_to_frontier` on a blob without holes.
        """
        return self._front is None or self._front.matches(self.size)

    def became_complete(self) -> None:
        """The store has moved the file among the complete blobs."""
        self._committed = True
        self._fingerprint = Fingerprint.of(self.fd)

    def became_partial(self, claims_fd: int) -> None:
        """The store has moved the file among the partial blobs, with a new record of its pieces."""
        self._committed = False
        if self._claims_fd < 0:
            self._claims_fd = claims_fd
        else:  # the number stays the same, for a job may be about to write to it
            os.dup2(claims_fd, self._claims_fd, inheritable=False)
            os.close(claims_fd)

    def became_worthless(self) -> None:
        """The store has set the file aside: no piece of it may be served any more."""
        self.held = self._verified = 0
        self._committed = False

    def known(self) -> Verified:
        """What is verified now, to be remembered after the file has closed."""
        self._forget_if_changed()
        return Verified(Fingerprint.of(self.fd), self._verified)

    async def _run(self, job: Callable[..., T], *args: object) -> T:
        """Run a blocking job that works on the descriptor, which stays open until the job has ended."""
        self.acquire()
        try:
            return await finished(self._threads.submit(job, *args))
        finally:
            self.release()

    def _start_check(self, piece: PieceIndex) -> asyncio.Future[bool]:
        """One check for all who ask at once, with a reference of its own: they may all go away."""
        check = asyncio.ensure_future(self._check(piece))
        self._checks[piece] = check
        self.acquire()
        check.add_done_callback(lambda _: self._end_check(piece))
        return check

    def _end_check(self, piece: PieceIndex) -> None:
        del self._checks[piece]
        self.release()

    async def _check(self, piece: PieceIndex) -> bool:
        good = await self._run(self._has_its_hash, piece)
        if good:
            self._verified |= 1 << piece
        else:
            self._lose(piece)
        return good

    def _forget_if_changed(self) -> None:
        """A complete file is never written by us: if it changed, nothing about it is known any more."""
        if not self._committed:
            return
        now = Fingerprint.of(self.fd)
        if now != self._fingerprint:
            self._fingerprint = now
            self._verified = 0

    def _lose(self, piece: PieceIndex) -> None:
        self.held &= ~(1 << piece)
        self._verified &= ~(1 << piece)
        if self._front is not None:
            self._front.begin_again(self.metainfo.pieces.start(piece))
        if self._claims_fd >= 0:
            os.pwrite(self._claims_fd, b"\0", piece)
        self._keeper.found_corrupt(self, piece)

    def _has_its_hash(self, piece: PieceIndex) -> bool:
        pieces = self.metainfo.pieces
        start = pieces.start(piece)
        hashes = []
        try:
            for view in steps_of(self.fd, start, start + pieces.size(piece)):
                hashes += [blake3(view[at : at + BLOCK_LENGTH]).digest() for at in range(0, len(view), BLOCK_LENGTH)]
        except (Corrupt, OSError):  # cut short, or the disk cannot read it any more
            return False
        return combine(b"".join(hashes)) == self.metainfo.piece_hash(piece)

    def _check_and_write(self, piece: PieceIndex, view: memoryview) -> bool:
        if len(view) != self.metainfo.pieces.size(piece) or piece_hash(view) != self.metainfo.piece_hash(piece):
            return False
        start = self.metainfo.pieces.start(piece)
        with space_checked(f"piece {piece} of {self.metainfo.digest}"):
            pwrite_all(self.fd, view, start)
            if self._claims_fd >= 0:
                os.pwrite(self._claims_fd, b"\1", piece)  # after the data: a claim is never ahead of it
        if self._front is not None:
            self._front.take_if_next(start, view)
        return True

    def _read(self, start: int, length: int) -> bytes:
        data = os.pread(self.fd, length, start)
        while len(data) < length:  # a single call gives all, but for a signal or the end of the file
            more = os.pread(self.fd, length - len(data), start + len(data))
            if not more:
                raise Corrupt(f"{self.metainfo.digest}: the file ends before byte {start + length}")
            data += more
        return data
