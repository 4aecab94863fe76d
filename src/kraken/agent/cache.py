"""The agent's blobs: those that are here, and those that are being fetched because somebody reads them.

However many read a blob at once, it is fetched once. A blob in which a bad piece is found goes back to
being fetched: only that piece is fetched anew, and the reader who met it just waits a little longer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence, Set
from contextlib import asynccontextmanager
from typing import Protocol

from kraken.agent.announcing import Announcing
from kraken.agent.download import Download, DownloadReader
from kraken.agent.settings import DownloadSettings
from kraken.core.digest import Digest
from kraken.core.errors import Corrupt, KrakenError, NotFound, Unavailable
from kraken.core.metainfo import Metainfo, SwarmId, swarm_id
from kraken.core.peers import Role
from kraken.core.pieces import PieceIndex, piece_length_for
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.p2p.events import PeersOffered
from kraken.p2p.io.node import PeerNode
from kraken.p2p.io.runner import SwarmRunner
from kraken.runtime.keyed_locks import KeyedLocks
from kraken.runtime.tasks import Tasks
from kraken.storage.io.blob_file import BlobFile
from kraken.storage.io.evictor import Evictor
from kraken.storage.ports import BlobStore

_REMEMBERED_METAINFO = 64


class MetainfoSource(Protocol):
    """Where metainfo comes from; `tracker.client.TrackerClient` in earnest."""

    async def metainfo(self, digest: Digest) -> tuple[Metainfo, bytes | None]:
        """Metainfo, and the blob itself when it is small. Raises: NotFound; Unavailable."""
        ...


class BlobReader:
    """A blob being read. `blob` stays open for as long as the reader does."""

    def __init__(self, cache: BlobCache, blob: BlobFile, download: Download | None, *, part: bool) -> None:
        self.blob = blob
        self._cache = cache
        self._part = part
        self._download: Download | None = None
        self._view: DownloadReader | None = None
        if download is not None:
            self._follow(download)

    async def available(self, start: int, stop: int) -> int:
        """Wait until byte `start` may be sent to a client.

        Returns: the offset, above `start` and at most `stop`, up to which bytes may be sent now.
        Raises: what ended the download.
        """
        ready = start
        while ready == start:
            if self._view is not None and not self._view.finished:
                ready = await self._view.available(start, stop)
                continue
            ready = await self.blob.verified_up_to(start, stop)
            if ready == start and (mending := await self._cache.mend(self.blob)) is not None:
                self._follow(mending)
        return ready

    def source(self, piece: PieceIndex) -> str:
        """Where a piece came from: cache, peers or origins."""
        role = self._download.sources.get(piece) if self._download is not None else None
        if role is None:
            return "cache"
        return "origins" if role is Role.ORIGIN else "peers"

    def close(self) -> None:
        """End the reading; a download that nobody else reads is stopped, or finished without a reader."""
        if self._view is not None:
            self._view.close()
        if self._download is not None:
            self._cache.reader_left(self._download)
        self.blob.release()

    def _follow(self, download: Download) -> None:
        if self._view is not None:
            self._view.close()
        if self._download is not None:
            self._cache.reader_left(self._download)
        download.reader_came()
        self._download = download
        self._view = download.reader(part=self._part)


class BlobCache:
    """Reads blobs through the store and the swarm, and keeps the store within its bounds."""

    def __init__(
        self,
        store: BlobStore,
        node: PeerNode,
        source: MetainfoSource,
        announcing: Announcing,
        evictor: Evictor,
        settings: DownloadSettings,
        tasks: Tasks,
        log: Log,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._node = node
        self._source = source
        self._announcing = announcing
        self._evictor = evictor
        evictor.on_evict = self._evicting
        evictor.on_shortage = node.close_unused
        self._settings = settings
        self._tasks = tasks
        self._log = log
        self._metrics = metrics
        self._downloads: dict[Digest, Download] = {}
        self._running: dict[Download, asyncio.Task[None]] = {}
        self._coming: dict[Digest, int] = {}  # bytes for which room is being made
        self._opening: KeyedLocks[Digest] = KeyedLocks()
        self._metainfo: OrderedDict[Digest, tuple[Metainfo, bytes | None]] = OrderedDict()
        self._asking: dict[Digest, asyncio.Task[tuple[Metainfo, bytes | None]]] = {}

    @property
    def pinned(self) -> Set[Digest]:
        """Blobs that are just being opened, and must not be evicted."""
        return self._coming.keys()

    def announce_all(self) -> None:
        """Announce everything that is here: after a start, the trackers may know nothing of it."""
        for stored in self._store.stored():
            swarm = _swarm_of(stored.digest, stored.size)
            self._announcing.opened(swarm, stored.digest, wanted=False, complete=stored.complete)

    def offer(self, swarm: SwarmId, offered: PeersOffered) -> None:
        """A tracker named peers for a swarm."""
        runner = self._node.runners.get(swarm)
        if runner is not None:
            runner.feed(offered)

    async def size(self, digest: Digest) -> int:
        """Bytes of a blob; nothing of it is fetched, unless it comes along. Raises: NotFound; Unavailable."""
        here = await self._store.size(digest)
        if here is not None:
            return here
        metainfo, _ = await self._ask_metainfo(digest)
        return metainfo.size

    @asynccontextmanager
    async def reader(self, digest: Digest, *, part: bool = False) -> AsyncIterator[BlobReader]:
        """Read a blob, fetching it if it is not here.

        Args: part, whether less than the whole is wanted.
        Raises: NotFound; Unavailable; OutOfSpace.
        """
        reader = await self._open(digest, part=part)
        try:
            yield reader
        finally:
            reader.close()

    def prefetch(self, digests: Sequence[Digest]) -> None:
        """A client will ask for these blobs: begin to fetch them, where the settings say so."""
        if self._settings.prefetch and digests:
            self._tasks.spawn("prefetch", self._prefetch(digests))

    async def mend(self, blob: BlobFile) -> Download | None:
        """Fetch anew what a complete blob has lost; None when somebody else has done so meanwhile."""
        async with self._opening.alone_with(blob.metainfo.digest):
            running = self._downloads.get(blob.metainfo.digest)
            if running is not None or blob.complete:
                return running
            self._log.error(Event.BLOB_CORRUPT, digest=str(blob.metainfo.digest), reason="a piece changed on disk")
            await self._store.demote(blob)
            return self._start(blob)

    def reader_left(self, download: Download) -> None:
        """A reader of a download is done, or gone."""
        download.reader_left()
        task = self._running.get(download)
        if task is not None and not download.readers and download.fraction < self._settings.finish_fraction:
            self._drop(download)
            task.cancel()

    async def _open(self, digest: Digest, *, part: bool) -> BlobReader:
        async with self._opening.alone_with(digest):
            running = self._downloads.get(digest)
            if running is not None:
                running.blob.acquire()
                return BlobReader(self, running.blob, running, part=part)
            try:
                return BlobReader(self, await self._store.open(digest), None, part=part)
            except (NotFound, Corrupt):
                blob = await self._partial(digest)
            try:
                download = None if blob.complete else self._start(blob)
                return BlobReader(self, blob, download, part=part)
            except BaseException:
                blob.release()
                raise

    async def _prefetch(self, digests: Sequence[Digest]) -> None:
        for digest in digests:
            try:
                await self._fetch_ahead(digest)
            except KrakenError as error:  # whoever asks for it will be told
                self._log.debug(Event.PREFETCH_FAILED, digest=str(digest), error=str(error))

    async def _fetch_ahead(self, digest: Digest) -> None:
        async with self._opening.alone_with(digest):
            if digest in self._downloads:
                return
            try:
                (await self._store.open(digest)).release()
            except (NotFound, Corrupt):
                with await self._partial(digest) as blob:
                    if not blob.complete:
                        self._start(blob).ahead_of_readers()

    async def _partial(self, digest: Digest) -> BlobFile:
        """What there is of a blob that is not complete here; a small one is complete after this."""
        metainfo, content = await self._ask_metainfo(digest)
        blob = await self._with_room(metainfo)
        try:
            if content is not None and not blob.complete:
                await self._fill(blob, content)
        except BaseException:
            blob.release()
            raise
        return blob

    async def _fill(self, blob: BlobFile, content: bytes) -> None:
        """Write a blob that came along with its metainfo."""
        metainfo = blob.metainfo
        self._metainfo.pop(metainfo.digest, None)  # its bytes need not be remembered any longer
        if metainfo.pieces.count and not await blob.write_piece(PieceIndex(0), memoryview(content)):
            raise Unavailable(f"{metainfo.digest} came with bytes that do not have the hash beside them")
        await self._store.finish(blob)
        runner = self._node.runners.get(metainfo.swarm)
        if runner is not None:
            runner.take_stock()
        self._announcing.opened(metainfo.swarm, metainfo.digest, wanted=False, complete=True)

    def _start(self, blob: BlobFile) -> Download:
        """Begin a download, which has its own references on blob and swarm."""
        digest = blob.metainfo.digest
        blob.acquire()
        runner = self._node.join(blob)
        runner.take_stock()
        download = Download(blob, runner, self._store, self._settings.stall_seconds)
        self._downloads[digest] = download
        self._announcing.opened(blob.metainfo.swarm, digest, wanted=True, complete=False)
        task = self._running[download] = self._tasks.spawn("download", self._run(download))
        task.add_done_callback(lambda _: self._ended(download, runner))  # a task may be cancelled before it began
        return download

    def _ended(self, download: Download, runner: SwarmRunner) -> None:
        """Give back what a download had, however it ended."""
        self._drop(download)
        del self._running[download]
        self._node.leave(runner)
        download.blob.release()

    def _drop(self, download: Download) -> None:
        """Let the next reader begin a new download."""
        if self._downloads.get(download.blob.metainfo.digest) is download:
            del self._downloads[download.blob.metainfo.digest]

    async def _run(self, download: Download) -> None:
        """Carry a download to its end, and say how it ended."""
        metainfo = download.blob.metainfo
        about = {"digest": str(metainfo.digest), "bytes": metainfo.size}
        self._log.debug(Event.DOWNLOAD_STARTED, **about)
        try:
            await download.run()
        except KrakenError as error:
            self._log.warning(Event.DOWNLOAD_FAILED, **about, error=str(error))
            if isinstance(error, Corrupt):
                self._metainfo.pop(metainfo.digest, None)
            self._announce_what_is_left(download)
        except asyncio.CancelledError:
            self._log.info(Event.DOWNLOAD_STOPPED, **about, fraction=round(download.fraction, 3))
            self._announce_what_is_left(download)
            raise
        else:
            self._log.debug(Event.DOWNLOAD_FINISHED, **about)
            self._announcing.completed(metainfo.swarm)
        finally:
            self._drop(download)

    def _announce_what_is_left(self, download: Download) -> None:
        """After a download that did not finish. Nothing is to be said when the next one has begun already."""
        blob, metainfo = download.blob, download.blob.metainfo
        if self._downloads.get(metainfo.digest) not in (None, download):
            return
        if self._is_here(metainfo.digest):
            self._announcing.opened(metainfo.swarm, metainfo.digest, wanted=False, complete=blob.complete)
        else:  # in quarantine
            self._node.forget(metainfo.swarm)
            self._announcing.closed(metainfo.swarm)

    async def _ask_metainfo(self, digest: Digest) -> tuple[Metainfo, bytes | None]:
        """Metainfo, from memory or the trackers; those who ask at once ask once."""
        known = self._metainfo.get(digest)
        if known is not None:
            return known
        asking = self._asking.get(digest)
        if asking is None:
            asking = asyncio.ensure_future(self._source.metainfo(digest))
            self._asking[digest] = asking
            asking.add_done_callback(lambda asked: self._asked(digest, asked))
        answer = self._metainfo[digest] = await asyncio.shield(asking)
        if len(self._metainfo) > _REMEMBERED_METAINFO:
            self._metainfo.popitem(last=False)
        return answer

    def _asked(self, digest: Digest, asked: asyncio.Task[tuple[Metainfo, bytes | None]]) -> None:
        del self._asking[digest]
        if not asked.cancelled():
            asked.exception()  # those who asked may all be gone; nobody needs to be warned of that

    async def _with_room(self, metainfo: Metainfo) -> BlobFile:
        """The partial blob, for which the least recently used ones go as far as needed. Raises: OutOfSpace."""
        digest = metainfo.digest
        self._coming[digest] = 0 if self._is_here(digest) else metainfo.size
        try:
            await self._evictor.make_room(sum(self._coming.values()))  # others may be about to take theirs
            return await self._store.partial(metainfo)
        finally:
            del self._coming[digest]

    def _is_here(self, digest: Digest) -> bool:
        return any(stored.digest == digest for stored in self._store.stored())

    def _evicting(self, digest: Digest, size: int) -> None:
        swarm = _swarm_of(digest, size)
        self._node.forget(swarm)
        self._announcing.closed(swarm)


def _swarm_of(digest: Digest, size: int) -> SwarmId:
    return swarm_id(digest, size, piece_length_for(size))
