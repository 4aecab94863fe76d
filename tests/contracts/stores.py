"""The stores that the contract suites are run against."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.helpers.blobs import ManualClock

from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.runtime.threads import FileThreads
from kraken.storage.hashing import Verify
from kraken.storage.io.catalog_store import CatalogBlobStore
from kraken.storage.io.disk import DiskMedium
from kraken.storage.io.memory import MemoryMedium
from kraken.storage.io.uploads import UploadSessions


@dataclass(frozen=True, slots=True)
class Stores:
    """A blob store and the upload store beside it, with the clock that both read."""

    blobs: CatalogBlobStore
    uploads: UploadSessions
    clock: ManualClock
    metrics: Metrics


def disk_stores(root: Path, threads: FileThreads, verify: Verify = Verify.BLOB) -> Stores:
    """Stores on disk, not started yet."""
    log, metrics, clock = get_logger("test", "store"), Metrics("test", "store"), ManualClock()
    blobs = CatalogBlobStore(DiskMedium(root), threads, clock, log, metrics, verify)
    return Stores(blobs, UploadSessions(blobs, threads, clock, log, metrics), clock, metrics)


def memory_stores(threads: FileThreads, clock: ManualClock | None = None) -> Stores:
    """Stores in memory, not started yet."""
    log, metrics, clock = get_logger("test", "store"), Metrics("test", "store"), clock or ManualClock()
    blobs = CatalogBlobStore(MemoryMedium(), threads, clock, log, metrics)
    return Stores(blobs, UploadSessions(blobs, threads, clock, log, metrics), clock, metrics)


@pytest.fixture(params=["disk", "memory"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    """Started stores of either kind."""
    threads = FileThreads()
    made = disk_stores(tmp_path, threads) if request.param == "disk" else memory_stores(threads)
    await made.blobs.start()
    yield made
    await made.blobs.close()
    threads.close()
