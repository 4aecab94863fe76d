"""One blob on its way into the cache: who waits for it, how far it is, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import count

from kraken.core.errors import KrakenError, Unavailable
from kraken.core.peers import Role
from kraken.core.pieces import PieceIndex
from kraken.p2p.bitfield import first_gap
from kraken.p2p.events import ReaderLeft, ReaderMoved
from kraken.p2p.io.runner import SwarmRunner
from kraken.p2p.priority import Priority
from kraken.storage.io.blob_file import BlobFile
from kraken.storage.ports import BlobStore

_reader_numbers = count(1)


class Download:
    """A partial blob that is being filled by its swarm.

    `run` ends when the blob is complete, or raises why it will not be. Readers are served meanwhile: every
    piece but the last as soon as it is verified, the last when the whole blob has its digest.
    """

    def __init__(self, blob: BlobFile, runner: SwarmRunner, store: BlobStore, stall_seconds: float) -> None:
        self.blob = blob
        self.readers = 0
        self.finished = False
        """Whether it ended well: the blob was complete, and says itself what may be served of it from then on."""
        self.sources: dict[PieceIndex, Role] = {}
        """Where pieces that this download fetched came from; those that were there before are not in it."""
        self._runner = runner
        self._store = store
        self._stall_seconds = stall_seconds
        self._changed = asyncio.Event()  # for readers, at each piece
        self._due = asyncio.Event()  # for `run`, when there is something to do
        self._failure: KrakenError | None = None
        self._progress_at = asyncio.get_running_loop().time()

    @property
    def fraction(self) -> float:
        """Which part of the pieces is here."""
        return self.blob.held.bit_count() / max(self.blob.metainfo.pieces.count, 1)

    async def run(self) -> None:
        """Fetch every piece, and make the blob a complete one.

        Raises: Unavailable, when nothing came for too long; OutOfSpace; Corrupt, when the whole does not
        have its digest: what there was is in quarantine then. Whatever it raises, readers get as well.
        """
        self._runner.listen(self._piece_arrived)
        self._runner.demand(+1)
        try:
            while self.blob.held != self.blob.every_piece:
                await self._until_due()
                await self.blob.hash_to_frontier()
            await self._store.finish(self.blob)
            self.finished = True
        except KrakenError as error:
            self._failure = error
            raise
        except asyncio.CancelledError:
            self._failure = self._failure or Unavailable(f"the download of {self.blob.metainfo.digest} was stopped")
            raise
        finally:
            self._runner.demand(-1)
            self._runner.unlisten(self._piece_arrived)
            self._wake()

    def ahead_of_readers(self) -> None:
        """Nobody reads it yet: what others wait for goes first."""
        self._runner.prioritize(Priority.PREFETCH)

    def reader_came(self) -> None:
        """One more reads it: somebody waits."""
        self.readers += 1
        self._runner.prioritize(Priority.INTERACTIVE)

    def reader_left(self) -> None:
        """One less reads it. Without any, what others wait for goes first."""
        self.readers -= 1
        if not self.readers:
            self._runner.prioritize(Priority.BACKGROUND)

    def reader(self, *, part: bool) -> DownloadReader:
        """A new reader's view. Args: part, whether it wants less than the whole blob."""
        return DownloadReader(self, next(_reader_numbers), part=part)

    async def available(self, start: int, moved: Callable[[PieceIndex], None]) -> int:
        """Wait until byte `start` may be served.

        Args: moved, told which piece is waited for, if there is need to wait.
        Returns: the offset up to which bytes may be served, above `start`; or `start`, when it has finished.
        Raises: what ended the download.
        """
        pieces = self.blob.metainfo.pieces
        first = PieceIndex(start // pieces.piece_length)
        while not self.finished:
            whole = first_gap(self.blob.held >> first) + first
            ready = min(whole, pieces.count - 1)  # the last piece waits for the digest of the whole
            if ready > first:
                return pieces.start(PieceIndex(ready))
            if self._failure is not None:
                raise self._failure
            moved(PieceIndex(whole))
            await self._wait_for_change()
        return start

    def move_reader(self, reader: int, start: PieceIndex, stop: int, *, part: bool) -> None:
        """A reader waits for the pieces from `start` to before `stop`."""
        self._runner.feed(ReaderMoved(reader, start, stop, part))

    def remove_reader(self, reader: int) -> None:
        """A reader is done, or gone."""
        self._runner.feed(ReaderLeft(reader))

    def _piece_arrived(self, piece: PieceIndex, role: Role | None, _size: int) -> None:
        if role is not None:
            self.sources[piece] = role
        self._progress_at = self._runner.now()
        self._wake()
        if self.blob.held == self.blob.every_piece or self.blob.has_more_to_hash or self._runner.failure is not None:
            self._due.set()

    def _wake(self) -> None:
        self._changed.set()
        self._changed.clear()

    async def _wait_for_change(self) -> None:
        await self._changed.wait()

    async def _until_due(self) -> None:
        """Wait until all pieces are here, or the hash of the whole can go on; most pieces are not worth a turn.

        Raises: Unavailable, when there is no progress; what the disk said.
        """
        if self._runner.failure is not None:
            raise self._runner.failure
        loop = asyncio.get_running_loop()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._stall_seconds / 4):
                await self._due.wait()
        self._due.clear()
        if self._runner.failure is not None:
            raise self._runner.failure
        last = max(self._progress_at, self._runner.payload_at)
        if loop.time() - last > self._stall_seconds:
            digest, peers = self.blob.metainfo.digest, len(self._runner.peers)
            raise Unavailable(f"{digest}: nothing came for {self._stall_seconds:g} seconds from {peers} peers")


class DownloadReader:
    """Somebody who reads a download. `part`: it wants less than the whole blob."""

    def __init__(self, download: Download, number: int, *, part: bool) -> None:
        self._download = download
        self._number = number
        self._part = part

    @property
    def finished(self) -> bool:
        """Whether the download ended well; the blob itself is to be asked then."""
        return self._download.finished

    async def available(self, start: int, stop: int) -> int:
        """Wait until byte `start` may be served; bytes up to `stop` will be wanted.

        Returns: the offset, at most `stop`, up to which bytes may be served now; `start` when it has finished.
        Raises: what ended the download.
        """
        last = -(-stop // self._download.blob.metainfo.pieces.piece_length)

        def moved(piece: PieceIndex) -> None:
            self._download.move_reader(self._number, piece, last, part=self._part)

        return min(await self._download.available(start, moved), stop)

    def close(self) -> None:
        self._download.remove_reader(self._number)
