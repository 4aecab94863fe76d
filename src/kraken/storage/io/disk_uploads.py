"""Upload sessions on the disk of a blob store: a commit is then one rename."""

from __future__ import annotations

from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.runtime.clock import Clock
from kraken.runtime.threads import FileThreads
from kraken.storage.io.disk import DiskBlobStore
from kraken.storage.io.uploads import UploadSessions


class DiskUploadStore(UploadSessions):
    """An `UploadStore` whose sessions survive a restart."""

    def __init__(self, blobs: DiskBlobStore, threads: FileThreads, clock: Clock, log: Log, metrics: Metrics) -> None:
        super().__init__(blobs, threads, clock, log, metrics)
