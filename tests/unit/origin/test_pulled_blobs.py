from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.contracts.stores import Stores, memory_stores
from tests.helpers.blobs import a_blob, broken_stream, stream_of

from kraken.core.errors import Rejected, Unavailable
from kraken.core.metainfo import Metainfo
from kraken.origin.pulled_blobs import PulledBlobs
from kraken.runtime.threads import FileThreads

BLOB = a_blob()


class Copies:
    """Implements `Replicas`."""

    def __init__(self) -> None:
        self.made: list[Metainfo] = []
        self.failure: Unavailable | None = None

    async def replicate(self, metainfo: Metainfo) -> int:
        if self.failure is not None:
            raise self.failure
        self.made.append(metainfo)
        return 1


@pytest.fixture
async def stores() -> AsyncIterator[Stores]:
    threads = FileThreads()
    made = memory_stores(threads)
    await made.blobs.start()
    yield made
    await made.blobs.close()
    threads.close()


def open_sessions(stores: Stores) -> float:
    return stores.metrics.value("kraken_uploads_open")


async def test_a_stream_becomes_a_blob_and_is_copied_to_its_owners(stores: Stores) -> None:
    copies = Copies()
    blobs = PulledBlobs(stores.blobs, stores.uploads, copies)
    assert await blobs.find(BLOB.digest) is None

    half = len(BLOB.data) // 2
    assert await blobs.store(BLOB.digest, stream_of(BLOB.data[:half], BLOB.data[half:])) == BLOB.metainfo

    assert await blobs.find(BLOB.digest) == BLOB.metainfo
    assert copies.made == [BLOB.metainfo]
    assert open_sessions(stores) == 0


async def test_bytes_in_memory_become_a_blob_too(stores: Stores) -> None:
    blobs = PulledBlobs(stores.blobs, stores.uploads, Copies())

    assert await blobs.put(BLOB.digest, BLOB.data) == BLOB.metainfo
    assert await blobs.find(BLOB.digest) == BLOB.metainfo


async def test_other_bytes_leave_nothing_behind(stores: Stores) -> None:
    copies = Copies()
    blobs = PulledBlobs(stores.blobs, stores.uploads, copies)

    with pytest.raises(Rejected):
        await blobs.store(BLOB.digest, stream_of(b"other bytes"))
    assert await blobs.find(BLOB.digest) is None
    assert (copies.made, open_sessions(stores)) == ([], 0)


@pytest.mark.parametrize("error", [Unavailable("it broke off"), asyncio.CancelledError()])
async def test_a_stream_that_breaks_leaves_nothing_behind(stores: Stores, error: BaseException) -> None:
    blobs = PulledBlobs(stores.blobs, stores.uploads, Copies())

    with pytest.raises(type(error)):
        await blobs.store(BLOB.digest, broken_stream([BLOB.data[:1000]], error))
    assert await blobs.find(BLOB.digest) is None
    assert open_sessions(stores) == 0


async def test_a_blob_with_too_few_copies_stays_and_is_not_acknowledged(stores: Stores) -> None:
    copies = Copies()
    copies.failure = Unavailable("only 1 of 2 owners")
    blobs = PulledBlobs(stores.blobs, stores.uploads, copies)

    with pytest.raises(Unavailable, match="only 1 of 2"):
        await blobs.put(BLOB.digest, BLOB.data)
    assert await blobs.find(BLOB.digest) == BLOB.metainfo
