"""One pull, from its start to the one line that the log gets of it."""

from __future__ import annotations

from collections import Counter
from types import TracebackType

from kraken.agent.cache import BlobReader
from kraken.core.digest import Digest
from kraken.core.pieces import ByteRange, PieceIndex
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.oci.references import RepositoryName
from kraken.runtime.clock import Clock
from kraken.storage.io.blob_file import BlobFile


class PullRecord:
    """Counts the bytes of a pull by where they came from. A `with` block is the pull; how it ends is logged."""

    def __init__(
        self, kind: str, repository: RepositoryName, digest: Digest, clock: Clock, log: Log, metrics: Metrics
    ) -> None:
        self._about = {"kind": kind, "repository": str(repository), "digest": str(digest)}
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._begun = clock.now()
        self._sources: Counter[str] = Counter()

    def __enter__(self) -> PullRecord:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._metrics.pulls.labels(result="ok" if error is None else "failed").inc()
        for source, size in self._sources.items():
            self._metrics.pull_bytes.labels(source=source).inc(size)
        told = {
            **self._about,
            "bytes": self._sources.total(),
            "seconds": round(self._clock.now() - self._begun, 3),
            "from_peers": self._sources["peers"],
            "from_origins": self._sources["origins"],
            "from_cache": self._sources["cache"],
        }
        if error is None:
            self._log.info(Event.PULL_FINISHED, **told)
        else:
            self._log.info(Event.PULL_FAILED, **told, error=str(error) or "the client went away")

    def watching(self, reader: BlobReader) -> WatchedReader:
        """The reader, with what it makes available counted as sent."""
        return WatchedReader(reader, self)

    def sent(self, reader: BlobReader, span: ByteRange) -> None:
        """These bytes go to the client."""
        if not self._sources:
            self._metrics.first_byte_seconds.observe(self._clock.now() - self._begun)
        pieces = reader.blob.metainfo.pieces
        for number in pieces.touched_by(span):
            piece = PieceIndex(number)
            start = pieces.start(piece)
            overlap = min(span.stop, start + pieces.size(piece)) - max(span.start, start)
            self._sources[reader.source(piece)] += overlap

    def sent_from_memory(self, size: int) -> None:
        """So many bytes that were at hand go to the client."""
        self._metrics.first_byte_seconds.observe(self._clock.now() - self._begun)
        self._sources["cache"] += size


class WatchedReader:
    """A reader whose progress is recorded. A `Source` of an HTTP body."""

    def __init__(self, reader: BlobReader, record: PullRecord) -> None:
        self._reader = reader
        self._record = record

    @property
    def blob(self) -> BlobFile:
        return self._reader.blob

    async def available(self, start: int, stop: int) -> int:
        ready = await self._reader.available(start, stop)
        self._record.sent(self._reader, ByteRange(start, ready))
        return ready
