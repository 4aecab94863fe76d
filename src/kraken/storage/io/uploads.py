"""Upload sessions over a medium: each byte is hashed and written once, as it passes.

A session is its file: the offset is the file's length, so that it survives a restart. The hash states live in
memory, and are rebuilt by reading the file again when a new process goes on with a session.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from kraken.core.digest import Algorithm, Digest, Hash
from kraken.core.errors import NotFound, OffsetMismatch, Rejected, Unavailable
from kraken.core.metainfo import Metainfo, metainfo_from_blocks
from kraken.core.pieces import MIB
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.runtime.clock import Clock
from kraken.runtime.threads import FileThreads
from kraken.storage.hashing import BlockHasher, combine
from kraken.storage.io.blob_file import Fingerprint
from kraken.storage.io.catalog_store import CatalogBlobStore
from kraken.storage.io.files import hash_span, pwrite_all, space_checked
from kraken.storage.io.jobs import finished
from kraken.storage.layout import SessionId

BATCH: Final = MIB
"""Bytes of one thread job. Below it the hand-over between threads costs more than the hash; above it memory grows."""

_HASHED_PER_JOB: Final = 16 * MIB


class _Session:
    """The hash states of one upload, which have seen exactly its first `offset` bytes."""

    def __init__(self, name: SessionId) -> None:
        self.name = name
        self.offset = 0
        self.length = 0  # bytes of the file when it was last opened; more than `offset` after a restart
        self.sha256: Hash = Algorithm.SHA256.hasher()
        self.blocks = BlockHasher()
        self.has_writer = False
        self.job: asyncio.Future[None] | None = None  # the last batch, until it is written

    def take(self, fd: int, batch: memoryview) -> None:
        """Write and hash the next bytes; blocking. When the disk is full, nothing of the batch is kept."""
        try:
            with space_checked(f"upload {self.name}, byte {self.offset}"):
                pwrite_all(fd, batch, self.offset)
        except BaseException:
            os.ftruncate(fd, self.offset)
            raise
        self.sha256.update(batch)
        self.blocks.update(batch)
        self.offset += len(batch)
        self.length = self.offset

    def catch_up(self, fd: int) -> None:
        """Hash the next bytes that an earlier process wrote; blocking."""
        stop = min(self.length, self.offset + _HASHED_PER_JOB)
        hash_span(fd, self.offset, stop, self.sha256, self.blocks)
        self.offset = stop


class _Batches:
    """Gathers chunks into batches. Of its two buffers one is filled while the other is written.

    Buffers that live as long as the request spare the kernel 256 page faults for each MiB.
    """

    def __init__(self) -> None:
        self._filling = memoryview(bytearray(BATCH))
        self._other = memoryview(bytearray(BATCH))
        self.length = 0

    @property
    def is_full(self) -> bool:
        return self.length == BATCH

    def gather(self, chunk: memoryview) -> memoryview:
        """Copy as much of a chunk as fits; returns what does not."""
        fits = min(len(chunk), BATCH - self.length)
        self._filling[self.length : self.length + fits] = chunk[:fits]
        self.length += fits
        return chunk[fits:]

    def taken(self) -> memoryview:
        """What was gathered. Valid until it is asked for the second time after this."""
        batch = self._filling[: self.length]
        self._filling, self._other, self.length = self._other, self._filling, 0
        return batch


class UploadSessions:
    """An `UploadStore` over the medium of a blob store, which takes the finished uploads over."""

    def __init__(self, blobs: CatalogBlobStore, threads: FileThreads, clock: Clock, log: Log, metrics: Metrics) -> None:
        self._blobs = blobs
        self._medium = blobs.medium
        self._threads = threads
        self._clock = clock
        self._log = log
        self._sessions: dict[SessionId, _Session] = {}
        metrics.uploads_open.set_function(lambda: len(self._sessions))

    async def begin(self, session: SessionId) -> None:
        if session not in self._sessions:
            await finished(self._threads.submit(self._medium.create_upload, session))
            await self._state(session)

    async def offset(self, session: SessionId) -> int:
        state = await self._state(session)
        await _settled(state)
        return state.length

    async def append(self, session: SessionId, offset: int | None, chunks: AsyncIterator[bytes]) -> int:
        state = await self._state(session)
        self._claim(state)
        fd = -1
        try:
            await _settled(state)
            state.job = None
            if offset is not None and offset != state.length:
                raise OffsetMismatch(state.length)
            fd = await self._opened(state)
            await self._take_all(state, fd, chunks)
        finally:
            self._let_go(state, fd)
        return state.offset

    async def commit(self, session: SessionId, digest: Digest) -> Metainfo:
        state = await self._state(session)
        self._claim(state)
        fd = -1
        try:
            await _settled(state)
            fd = await self._opened(state)
            hashed = Fingerprint.of(fd)
            metainfo = await self._checked(state, fd, digest)
            await self._blobs.adopt(session, metainfo, hashed)
            self._sessions.pop(session, None)
        except Unavailable:
            raise  # the session stays, and the commit can be tried again
        except BaseException:
            self._sessions.pop(session, None)  # what is left of it, if anything, is on the medium
            raise
        finally:
            self._let_go(state, fd)
        return metainfo

    async def abandon(self, session: SessionId) -> None:
        state = await self._state(session)
        self._claim(state)  # so that nobody appends to a file that is going away
        try:
            await _settled(state)
            await self._drop(session)
        finally:
            self._let_go(state, -1)

    async def sweep(self, older_than_seconds: float) -> int:
        oldest = self._clock.wall().timestamp() - older_than_seconds
        swept = 0
        for session, changed_at in await finished(self._threads.submit(self._medium.uploads)):
            state = self._sessions.get(session)
            if changed_at < oldest and (state is None or not state.has_writer):
                await self._drop(session)
                self._log.info(Event.UPLOAD_EXPIRED, session=session)
                swept += 1
        return swept

    async def _state(self, session: SessionId) -> _Session:
        """The state of a session, found on the medium if this process has not seen it yet. Raises: NotFound."""
        state = self._sessions.get(session)
        if state is None:
            length = await finished(self._threads.submit(self._length_on_medium, session))
            state = self._sessions.setdefault(session, _Session(session))
            state.length = max(state.length, length)
        return state

    def _length_on_medium(self, session: SessionId) -> int:
        try:
            fd = self._medium.open_upload(session)
        except FileNotFoundError as error:
            raise NotFound(f"there is no upload session {session}") from error
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    def _claim(self, state: _Session) -> None:
        if state.has_writer:
            raise Unavailable(f"upload session {state.name} is being written to by another request")
        if self._sessions.get(state.name) is not state:
            raise NotFound(f"there is no upload session {state.name} any more")
        state.has_writer = True

    def _let_go(self, state: _Session, fd: int) -> None:
        """End a claim. The batch that is still being written keeps the descriptor until it is done."""
        state.has_writer = False
        if state.job is not None and not state.job.done():
            state.job.add_done_callback(lambda job: _end(job, fd))
        elif fd >= 0:
            os.close(fd)

    async def _opened(self, state: _Session) -> int:
        """A descriptor of the session's file, with the hash states at its end."""
        try:
            fd = await finished(self._threads.submit(self._medium.open_upload, state.name))
        except FileNotFoundError as error:
            self._sessions.pop(state.name, None)
            raise NotFound(f"upload session {state.name} has lost its bytes") from error
        try:
            while state.offset < state.length:
                await finished(self._threads.submit(state.catch_up, fd))
        except BaseException:
            os.close(fd)
            raise
        return fd

    async def _take_all(self, state: _Session, fd: int, chunks: AsyncIterator[bytes]) -> None:
        """Write a stream in batches: while one is hashed and written, the next one is gathered.

        A stream that breaks leaves the session with all that had come, the last part of a batch included.
        """
        batches = _Batches()
        try:
            async for chunk in chunks:
                rest = memoryview(chunk)
                while rest := batches.gather(rest):
                    await self._write(state, fd, batches)
                if batches.is_full:
                    await self._write(state, fd, batches)
        except BaseException:
            if batches.length and not _failed(state):
                state.job = asyncio.ensure_future(self._write_after(state.job, state, fd, batches.taken()))
            raise
        if batches.length:
            await self._write(state, fd, batches)
        if state.job is not None:
            await finished(state.job)

    async def _write(self, state: _Session, fd: int, batches: _Batches) -> None:
        """Start a batch when the one before it is written: they must reach the hashes in order."""
        if state.job is not None:
            await finished(state.job)
        state.job = self._threads.submit(state.take, fd, batches.taken())

    async def _write_after(
        self, before: asyncio.Future[None] | None, state: _Session, fd: int, batch: memoryview
    ) -> None:
        if before is not None:
            await finished(before)
        await finished(self._threads.submit(state.take, fd, batch))

    async def _checked(self, state: _Session, fd: int, digest: Digest) -> Metainfo:
        """The metainfo of a session whose bytes have this digest; any other session is dropped."""
        found = state.sha256
        if digest.algorithm is not Algorithm.SHA256:
            found = digest.algorithm.hasher()  # named only now: the bytes are read again
            for start in range(0, state.length, _HASHED_PER_JOB):
                stop = min(start + _HASHED_PER_JOB, state.length)
                await finished(self._threads.submit(hash_span, fd, start, stop, found))
        if found.hexdigest() != digest.encoded:
            await self._drop(state.name)
            actual = Digest(digest.algorithm, found.hexdigest())
            raise Rejected(f"the {state.length} bytes that were sent have the digest {actual}, not {digest}")
        return metainfo_from_blocks(digest, state.length, state.blocks.block_hashes(), combine)

    async def _drop(self, session: SessionId) -> None:
        self._sessions.pop(session, None)
        await finished(self._threads.submit(self._medium.delete_upload, session))


async def _settled(state: _Session) -> None:
    """Wait until the last batch of an earlier request is written, or has failed: the file says what arrived."""
    job = state.job
    if job is not None:
        with suppress(Exception):  # its own request was told
            await finished(job)


def _end(job: asyncio.Future[None], fd: int) -> None:
    job.exception()  # seen: its request is gone, and the file says what arrived
    if fd >= 0:
        os.close(fd)


def _failed(state: _Session) -> bool:
    job = state.job
    return job is not None and job.done() and job.exception() is not None
