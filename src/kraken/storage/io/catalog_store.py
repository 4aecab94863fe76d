"""The store of blobs: which there are, which are open, and what may happen to them when.

The catalogue is kept in memory and read from the medium at start. All of it changes on the loop; per blob,
one change at a time goes to the medium.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

from kraken.core.digest import Digest
from kraken.core.errors import Corrupt, NotFound, Rejected
from kraken.core.metainfo import Metainfo, SwarmId, metainfo_from_blocks, swarm_id
from kraken.core.pieces import PieceIndex, piece_length_for
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.runtime.clock import Clock
from kraken.runtime.keyed_locks import KeyedLocks
from kraken.runtime.threads import FileThreads
from kraken.storage.hashing import BlockHasher, Verify, combine
from kraken.storage.io.blob_file import BlobFile, Fingerprint, Verified
from kraken.storage.io.jobs import finished
from kraken.storage.io.medium import Found, Medium, Opened
from kraken.storage.layout import SessionId
from kraken.storage.ports import StoredBlob

P = ParamSpec("P")
T = TypeVar("T")

REMEMBERED = 4096
"""Closed blobs whose verified pieces are remembered, so that the next reader need not hash them again."""


@dataclass(slots=True)
class _Entry:
    """One blob of the catalogue. `sure`: see `Found`."""

    size: int
    used_at: float
    complete: bool
    sure: bool


class CatalogBlobStore:
    """A `BlobStore` over a medium."""

    def __init__(
        self,
        medium: Medium,
        threads: FileThreads,
        clock: Clock,
        log: Log,
        metrics: Metrics,
        verify: Verify = Verify.BLOB,
    ) -> None:
        """Args: verify, what makes a download a complete blob."""
        self.medium = medium
        self._verify = verify
        self._threads = threads
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._entries: dict[Digest, _Entry] = {}
        self._by_swarm: dict[SwarmId, Digest] = {}
        self._open: dict[Digest, BlobFile] = {}
        self._known: OrderedDict[Digest, Verified] = OrderedDict()
        self._locks: KeyedLocks[Digest] = KeyedLocks()
        self._used_bytes = 0
        metrics.store_blobs.set_function(lambda: len(self._complete_sizes()))
        metrics.store_bytes.set_function(lambda: sum(self._complete_sizes()))

    async def start(self) -> None:
        """Take possession of the medium and read the catalogue. Raises: BadConfig."""
        for found in await self._in_thread(self.medium.start):
            self._enter(found)

    async def close(self) -> None:
        """Let go of the medium, so that another store may take it."""
        await self._in_thread(self.medium.close)

    @property
    def used_bytes(self) -> int:
        return self._used_bytes

    def digests(self) -> Iterable[StoredBlob]:
        return [blob for blob in self.stored() if blob.complete]

    def stored(self) -> Iterable[StoredBlob]:
        return [
            StoredBlob(digest, entry.size, entry.used_at, self._is_complete(digest, entry), digest in self._open)
            for digest, entry in self._entries.items()
        ]

    async def size(self, digest: Digest) -> int | None:
        entry = self._entries.get(digest)
        if entry is not None and entry.complete and not entry.sure:
            with suppress(NotFound, Corrupt):
                (await self.open(digest)).release()  # hashes all of it: then it is sure, or set aside
            entry = self._entries.get(digest)
        return entry.size if entry and self._is_complete(digest, entry) else None

    async def open(self, digest: Digest) -> BlobFile:
        return await self._handed_out(self._open_complete(digest))

    async def open_swarm(self, swarm: SwarmId) -> BlobFile | None:
        digest = self._by_swarm.get(swarm)
        if digest is None:
            return None
        try:
            return await self._handed_out(self._open_any(digest))
        except NotFound:
            return None

    async def put(self, digest: Digest, data: bytes) -> Metainfo:
        metainfo = await self._in_thread(_metainfo_of, digest, data)
        await _whole(self._put(metainfo, data))
        return metainfo

    async def partial(self, metainfo: Metainfo) -> BlobFile:
        blob = await self._handed_out(self._open_to_fill(metainfo))
        try:
            if not blob.committed:
                await blob.verify_held()
        except BaseException:
            blob.release()
            raise
        return blob

    async def finish(self, blob: BlobFile) -> None:
        with suppress(Corrupt):  # cut short behind our back: it will not match, and is dealt with then
            await blob.hash_to_frontier()
        await _whole(self._finish(blob))

    async def demote(self, blob: BlobFile) -> None:
        await _whole(self._demote_if_holed(blob))
        if not blob.committed:
            await blob.verify_held()  # where one piece has changed, others may have

    async def quarantine(self, digest: Digest, reason: str) -> None:
        await _whole(self._quarantine(digest, reason))

    async def remove(self, digest: Digest, *, unused_since: float | None = None) -> bool:
        return await finished(asyncio.ensure_future(self._remove(digest, unused_since)))

    async def adopt(self, session: SessionId, metainfo: Metainfo, hashed: Fingerprint) -> None:
        """Make an upload, whose bytes were hashed as they came, a complete blob; or drop it if that exists.

        Args: hashed, the upload's file as it was when the last byte had been hashed.
        Raises: OutOfSpace, and the upload stays.
        """
        await _whole(self._adopt(session, metainfo, hashed))

    def closing(self, blob: BlobFile) -> None:
        """Part of `Keeper`: forget an open file, remember what was verified in it."""
        digest = blob.metainfo.digest
        if self._open.get(digest) is blob:
            del self._open[digest]
            self._remember(digest, blob.known())

    def found_corrupt(self, blob: BlobFile, piece: PieceIndex) -> None:
        """Part of `Keeper`: a piece on the medium has changed."""
        self._log.error(Event.PIECE_CORRUPT, digest=str(blob.metainfo.digest), piece=int(piece), source="store")

    async def _handed_out(self, opening: Coroutine[Any, Any, BlobFile]) -> BlobFile:
        """The blob that `opening` opens, whose reference goes to the caller unless that was cancelled."""
        task = asyncio.ensure_future(opening)
        try:
            return await finished(task)
        except asyncio.CancelledError:
            if not task.cancelled() and task.exception() is None:
                task.result().release()
            raise

    async def _open_complete(self, digest: Digest) -> BlobFile:
        async with self._locks.alone_with(digest):
            entry = self._entries.get(digest)
            if entry is None or not self._is_complete(digest, entry):
                raise NotFound(f"blob {digest} is not here")
            return await self._acquired(digest)

    async def _open_any(self, digest: Digest) -> BlobFile:
        async with self._locks.alone_with(digest):
            return await self._acquired(digest)

    async def _open_to_fill(self, metainfo: Metainfo) -> BlobFile:
        digest = metainfo.digest
        async with self._locks.alone_with(digest):
            with suppress(NotFound):
                blob = await self._acquired(digest)
                if blob.committed and not blob.complete:
                    await self._demote(blob)
                if blob.committed or blob.metainfo == metainfo:
                    return blob
                blob.release()
                await self._delete(digest)  # hashes that were wrong once: nothing of it can be trusted
            opened = await self._in_thread(self.medium.create, metainfo)
            self._enter(Found(digest, metainfo.size, self._seconds(), complete=False))
            blob = self._hold(opened, committed=False)
            blob.acquire()
            return blob

    async def _finish(self, blob: BlobFile) -> None:
        digest = blob.metainfo.digest
        async with self._locks.alone_with(digest):
            entry = self._entries.get(digest)
            is_ours = self._open.get(digest) is blob
            if blob.committed or (entry is not None and entry.complete and not is_ours):
                return  # an upload of the same blob was faster
            if entry is None or not is_ours:
                raise NotFound(f"blob {digest} was removed before it was finished")
            if blob.held != blob.every_piece:
                raise Corrupt(f"blob {digest} lost a piece before it was finished")
            if not await _digest_matches(blob):
                await self._set_aside(digest, "the whole blob does not have its digest")
                raise Corrupt(f"blob {digest} does not have its digest although every piece has its hash")
            await self._in_thread(self.medium.commit, blob.metainfo, blob.fd)
            blob.became_complete()
            entry.complete = True

    async def _demote_if_holed(self, blob: BlobFile) -> None:
        digest = blob.metainfo.digest
        async with self._locks.alone_with(digest):
            if self._open.get(digest) is blob and blob.committed and not blob.complete:
                await self._demote(blob)

    async def _quarantine(self, digest: Digest, reason: str) -> None:
        async with self._locks.alone_with(digest):
            if digest in self._entries:
                await self._set_aside(digest, reason)

    async def _remove(self, digest: Digest, unused_since: float | None) -> bool:
        async with self._locks.alone_with(digest):
            entry = self._entries.get(digest)
            if entry is None or (unused_since is not None and entry.used_at >= unused_since):
                return False
            await self._delete(digest)
            return True

    async def _put(self, metainfo: Metainfo, data: bytes) -> None:
        digest = metainfo.digest
        async with self._locks.alone_with(digest):
            if not await self._is_there_for(digest):
                self._enter_complete(metainfo, await self._in_thread(self.medium.write, metainfo, data))

    async def _adopt(self, session: SessionId, metainfo: Metainfo, hashed: Fingerprint) -> None:
        digest = metainfo.digest
        async with self._locks.alone_with(digest):
            if await self._is_there_for(digest):
                await self._in_thread(self.medium.delete_upload, session)
                return
            await self._in_thread(self.medium.adopt_upload, session, metainfo)
            self._enter_complete(metainfo, hashed)

    async def _is_there_for(self, digest: Digest) -> bool:
        """Whether somebody who brings this blob can leave it; if not, nothing of it is here after this."""
        entry = self._entries.get(digest)
        if entry is not None and entry.sure and self._is_complete(digest, entry):
            entry.used_at = self._seconds()
            return True
        if entry is not None:
            await self._delete(digest)
        return False

    def _enter_complete(self, metainfo: Metainfo, hashed: Fingerprint) -> None:
        """Args: hashed, the file as it was when its last byte had been hashed."""
        self._enter(Found(metainfo.digest, metainfo.size, self._seconds(), complete=True))
        self._remember(metainfo.digest, Verified(hashed, (1 << metainfo.pieces.count) - 1))

    async def _acquired(self, digest: Digest) -> BlobFile:
        """The open file of a blob, opened now if it must be, with a reference. Raises: NotFound; Corrupt."""
        entry = self._entries.get(digest)
        if entry is None:
            raise NotFound(f"blob {digest} is not here")
        entry.used_at = self._seconds()
        blob = self._open.get(digest) or await self._loaded(digest, entry)
        blob.acquire()
        return blob

    async def _loaded(self, digest: Digest, entry: _Entry) -> BlobFile:
        load = partial(self.medium.load, digest, entry.size, complete=entry.complete, now=entry.used_at)
        try:
            opened = await self._in_thread(load)
        except FileNotFoundError as error:  # somebody tidied up behind our back
            self._log.warning(Event.BLOB_REMOVED, digest=str(digest), reason="its file is gone")
            await self._delete(digest)
            raise NotFound(f"blob {digest} is not here any more") from error
        except Corrupt as error:
            await self._set_aside(digest, str(error))
            raise
        entry.sure = True
        return self._hold(opened, committed=entry.complete)

    def _hold(self, opened: Opened, *, committed: bool) -> BlobFile:
        digest = opened.metainfo.digest
        blob = BlobFile(
            opened.fd,
            opened.claims_fd,
            opened.metainfo,
            self._threads,
            self,
            held=opened.claimed,
            committed=committed,
            known=self._known.get(digest),
            verify=self._verify,
        )
        self._open[digest] = blob
        return blob

    async def _demote(self, blob: BlobFile) -> None:
        blob.became_partial(await self._in_thread(self.medium.demote, blob.metainfo, blob.held))
        self._entries[blob.metainfo.digest].complete = False

    async def _set_aside(self, digest: Digest, reason: str) -> None:
        entry = self._leave(digest)
        blob = self._open.pop(digest, None)
        if blob is not None:
            blob.became_worthless()
        stamp = int(self._seconds() * 1e9)
        move = partial(self.medium.set_aside, digest, entry.size, complete=entry.complete, stamp=stamp)
        await self._in_thread(move)
        self._metrics.quarantined.inc()
        self._log.error(Event.BLOB_QUARANTINED, digest=str(digest), reason=reason)

    async def _delete(self, digest: Digest) -> None:
        entry = self._leave(digest)
        self._open.pop(digest, None)
        await self._in_thread(partial(self.medium.delete, digest, entry.size, complete=entry.complete))

    async def _in_thread(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await finished(self._threads.submit(job, *args, **kwargs))

    def _enter(self, found: Found) -> None:
        self._entries[found.digest] = _Entry(found.size, found.used_at, found.complete, found.sure)
        self._by_swarm[_swarm_of(found.digest, found.size)] = found.digest
        self._used_bytes += found.size

    def _leave(self, digest: Digest) -> _Entry:
        entry = self._entries.pop(digest)
        self._by_swarm.pop(_swarm_of(digest, entry.size), None)
        self._known.pop(digest, None)
        self._used_bytes -= entry.size
        return entry

    def _is_complete(self, digest: Digest, entry: _Entry) -> bool:
        blob = self._open.get(digest)
        return blob.complete if blob else entry.complete

    def _remember(self, digest: Digest, verified: Verified) -> None:
        self._known[digest] = verified
        self._known.move_to_end(digest)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _complete_sizes(self) -> list[int]:
        return [entry.size for digest, entry in self._entries.items() if self._is_complete(digest, entry)]

    def _seconds(self) -> float:
        return self._clock.wall().timestamp()


def _metainfo_of(digest: Digest, data: bytes) -> Metainfo:
    """Raises: Rejected, when the bytes have another digest."""
    actual = Digest.of(data, digest.algorithm)
    if actual != digest:
        raise Rejected(f"the {len(data)} bytes that were sent have the digest {actual}, not {digest}")
    blocks = BlockHasher()
    blocks.update(data)
    return metainfo_from_blocks(digest, len(data), blocks.block_hashes(), combine)


async def _whole(change: Coroutine[Any, Any, None]) -> None:
    """Do a change to its end although the caller is cancelled: medium and catalogue must agree."""
    await finished(asyncio.ensure_future(change))


def _swarm_of(digest: Digest, size: int) -> SwarmId:
    return swarm_id(digest, size, piece_length_for(size))


async def _digest_matches(blob: BlobFile) -> bool:
    try:
        await blob.hash_to_frontier()
    except Corrupt:  # the file was cut short behind our back
        return False
    return blob.digest_matches()
