from __future__ import annotations

import asyncio
import random
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contracts.stores import memory_stores
from tests.helpers.blobs import blob_of, stream_of

from kraken.core.pieces import MIB
from kraken.runtime.threads import FileThreads
from kraken.storage.layout import session_id

DATA = random.Random(2).randbytes(2 * MIB + 300_001)
BLOB = blob_of(DATA)
SESSION = session_id("session-1")


@settings(max_examples=30)
@given(st.lists(st.integers(0, len(DATA)), max_size=6), st.lists(st.integers(0, len(DATA)), max_size=3))
def test_metainfo_does_not_depend_on_how_the_upload_was_cut(chunk_cuts: list[int], request_cuts: list[int]) -> None:
    async def upload() -> None:
        threads = FileThreads(workers=2)
        stores = memory_stores(threads)
        await stores.uploads.begin(SESSION)
        edges = [0, *sorted(request_cuts), len(DATA)]
        for start, stop in pairwise(edges):
            inner = [start, *sorted(cut for cut in chunk_cuts if start < cut < stop), stop]
            chunks = [DATA[a:b] for a, b in pairwise(inner)]
            assert await stores.uploads.append(SESSION, start, stream_of(*chunks)) == stop

        assert await stores.uploads.commit(SESSION, BLOB.digest) == BLOB.metainfo
        with await stores.blobs.open(BLOB.digest) as file:
            assert await file.read(0, file.size) == DATA
        threads.close()

    asyncio.run(upload())


async def test_a_failed_batch_is_not_followed_by_the_next_one() -> None:
    """Bytes must never be written behind a hole, whatever reads the offset meanwhile."""
    threads = FileThreads(workers=1)
    stores = memory_stores(threads)
    await stores.uploads.begin(SESSION)
    state = stores.uploads._sessions[SESSION]
    really_take, calls = state.take, []

    def fail_first(fd: int, batch: memoryview) -> None:
        calls.append(len(batch))
        if len(calls) == 1:
            raise OSError("a disk that fails once")
        really_take(fd, batch)

    class Meddler:
        async def __aiter__(self):  # type: ignore[no-untyped-def] # an async generator method
            yield bytes(MIB)
            assert await stores.uploads.offset(SESSION) == 0
            yield bytes(2 * MIB)

    state.take = fail_first  # type: ignore[method-assign] # the fault of this test
    outcome = await asyncio.gather(stores.uploads.append(SESSION, 0, aiter(Meddler())), return_exceptions=True)

    assert isinstance(outcome[0], OSError)
    assert calls == [MIB]
    assert await stores.uploads.offset(SESSION) == 0
    threads.close()
