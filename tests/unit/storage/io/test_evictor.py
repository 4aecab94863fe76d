from __future__ import annotations

from pathlib import Path

import pytest
from tests.contracts.stores import Stores, memory_stores
from tests.helpers.blobs import Blob, blob_of, stream_of

from kraken.core.digest import Digest
from kraken.core.errors import OutOfSpace
from kraken.observability.logs import get_logger
from kraken.runtime.threads import FileThreads
from kraken.storage.eviction import CacheSettings
from kraken.storage.io.evictor import Evictor
from kraken.storage.layout import session_id


async def put(stores: Stores, blob: Blob) -> None:
    session = session_id(blob.digest.encoded[:16])
    await stores.uploads.begin(session)
    await stores.uploads.append(session, 0, stream_of(blob.data))
    await stores.uploads.commit(session, blob.digest)


async def test_room_is_made_from_the_oldest_blobs(tmp_path: Path) -> None:
    threads = FileThreads()
    stores = memory_stores(threads)
    evictor = Evictor(
        stores.blobs,
        tmp_path,
        CacheSettings(max_bytes=100, low_water=1.0, min_free_bytes=0),
        threads,
        get_logger("test", "evictor"),
        stores.metrics,
    )
    old, young = blob_of(b"a" * 40), blob_of(b"b" * 40)
    await put(stores, old)
    stores.clock.move(1)
    await put(stores, young)

    await evictor.make_room(20)
    assert stores.blobs.used_bytes == 80
    await evictor.make_room(30)
    assert {blob.digest for blob in stores.blobs.stored()} == {young.digest}
    assert stores.metrics.value("kraken_evictions_total") == 1.0
    with await stores.blobs.open(young.digest), pytest.raises(OutOfSpace):
        await evictor.make_room(61)
    assert await stores.blobs.size(young.digest) == 40
    threads.close()


async def test_what_is_pinned_while_others_are_removed_stays(tmp_path: Path) -> None:
    threads = FileThreads()
    stores = memory_stores(threads)
    pinned: set[Digest] = set()
    tight = CacheSettings(max_bytes=100, low_water=1.0, min_free_bytes=0)
    log = get_logger("test", "evictor")
    evictor = Evictor(stores.blobs, tmp_path, tight, threads, log, stores.metrics, lambda: pinned)
    first, second = blob_of(b"a" * 40), blob_of(b"b" * 40)
    await put(stores, first)
    stores.clock.move(1)
    await put(stores, second)
    evictor.on_evict = lambda _digest, _size: pinned.add(second.digest)

    await evictor.make_room(100)

    assert [blob.digest for blob in stores.blobs.stored()] == [second.digest]
    threads.close()


async def test_what_can_be_closed_is_closed_before_there_is_no_room(tmp_path: Path) -> None:
    threads = FileThreads()
    stores = memory_stores(threads)
    tight = CacheSettings(max_bytes=100, low_water=1.0, min_free_bytes=0)
    evictor = Evictor(stores.blobs, tmp_path, tight, threads, get_logger("test", "evictor"), stores.metrics)
    blob = blob_of(b"a" * 40)
    await put(stores, blob)
    evictor.on_shortage = (await stores.blobs.open(blob.digest)).release

    await evictor.make_room(100)

    assert list(stores.blobs.stored()) == []
    threads.close()
