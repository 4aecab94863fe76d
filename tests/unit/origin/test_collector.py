"""Garbage collection at an origin: bytes that nobody has any more go, and no others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection

import pytest
from tests.contracts.stores import Stores, memory_stores
from tests.helpers.blobs import Blob, ManualClock, a_blob, stream_of

from kraken.core.digest import Digest
from kraken.core.errors import Unavailable
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.origin.collector import Collector
from kraken.origin.settings import CollectionSettings
from kraken.runtime.threads import FileThreads
from kraken.storage.layout import session_id

GRACE = 100.0
OLD, YOUNG, NEEDED = (a_blob(seed=seed) for seed in (1, 2, 3))


class Index:
    """Says what is used; `while_asked` happens before each of its answers."""

    def __init__(self) -> None:
        self.used_now: set[Digest] = set()
        self.asked = 0
        self.error: Exception | None = None
        self.while_asked: Callable[[int], object] = lambda _turn: None

    async def used(self, digests: Collection[Digest]) -> set[Digest]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        self.while_asked(self.asked)
        return self.used_now & set(digests)


class Site:
    """An origin's stores, an index and a collector between them."""

    def __init__(self, stores: Stores, clock: ManualClock) -> None:
        self.stores, self.clock, self.index = stores, clock, Index()
        settings = CollectionSettings(grace_seconds=GRACE, second_look_seconds=0)
        log, metrics = get_logger("origin", "test"), Metrics("origin", "test")
        self.collector = Collector(stores.blobs, self.index, settings, clock, log, metrics)

    async def upload(self, blob: Blob) -> None:
        session = session_id(f"session-{self.clock.seconds:.0f}-{blob.digest.encoded[:8]}")
        await self.stores.uploads.begin(session)
        await self.stores.uploads.append(session, 0, stream_of(blob.data))
        await self.stores.uploads.commit(session, blob.digest)

    def here(self) -> set[Digest]:
        return {stored.digest for stored in self.stores.blobs.digests()}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    threads, clock = FileThreads(), ManualClock()
    made = Site(memory_stores(threads, clock), clock)
    for blob in (OLD, NEEDED):
        await made.upload(blob)
    clock.move(GRACE + 1)
    await made.upload(YOUNG)
    made.index.used_now = {NEEDED.digest}
    yield made
    threads.close()


async def test_only_what_is_old_and_that_nobody_has_goes(site: Site) -> None:
    looked = await site.collector.look()
    assert site.here() == {OLD.digest, YOUNG.digest, NEEDED.digest}

    collected = await site.collector.collect()

    assert site.here() == {YOUNG.digest, NEEDED.digest}
    for report in (looked, collected):
        assert [it.name for it in report.listed] == [str(OLD.digest)]
        assert report.counts == {"bytes": 1}
        assert report.sizes == {"bytes": len(OLD.data)}
    assert (looked.removed, collected.removed) == (False, True)


async def test_nothing_goes_while_the_index_cannot_say(site: Site) -> None:
    site.index.error = Unavailable("no majority")

    for asking in (site.collector.look, site.collector.collect):
        with pytest.raises(Unavailable):
            await asking()
    assert len(site.here()) == 3


async def test_what_a_push_needs_by_the_second_look_stays(site: Site) -> None:
    def push(turn: int) -> None:
        if turn == 2:
            site.index.used_now.add(OLD.digest)

    site.index.while_asked = push
    report = await site.collector.collect()

    assert OLD.digest in site.here()
    assert report.listed == []
    assert site.index.asked == 2


async def test_an_upload_of_the_same_bytes_between_the_looks_keeps_them(site: Site) -> None:
    site.clock.move(1)
    found = site.collector._old(site.clock.wall().timestamp())
    await site.upload(OLD)  # the index was asked before this, and has not heard of it
    removed = await site.stores.blobs.remove(OLD.digest, unused_since=found[0].used_at + 0.5)

    assert not removed
    assert OLD.digest in site.here()


async def test_a_read_keeps_a_blob_for_another_time_of_grace(site: Site) -> None:
    (await site.stores.blobs.open(OLD.digest)).release()

    assert (await site.collector.collect()).listed == []
    site.clock.move(GRACE + 1)
    assert {it.name for it in (await site.collector.collect()).listed} == {str(OLD.digest), str(YOUNG.digest)}
