"""What every `UploadStore` promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.contracts.stores import Stores, stores
from tests.helpers.blobs import a_blob, blob_of, broken_stream, stream_of

from kraken.core.digest import Algorithm, Digest
from kraken.core.errors import NotFound, OffsetMismatch, Rejected, Unavailable
from kraken.core.pieces import MIB
from kraken.storage.layout import session_id

__all__ = ["stores"]

SESSION = session_id("0123456789abcdef")
OTHER = session_id("fedcba9876543210")


async def held_by(stores: Stores, digest: Digest) -> bytes:
    with await stores.blobs.open(digest) as file:
        return await file.read(0, file.size)


async def test_an_upload_becomes_a_blob(stores: Stores) -> None:
    blob = a_blob(pieces=9)
    await stores.uploads.begin(SESSION)

    assert await stores.uploads.append(SESSION, 0, stream_of(blob.data[:700], blob.data[700:])) == len(blob.data)
    assert await stores.uploads.commit(SESSION, blob.digest) == blob.metainfo

    assert await held_by(stores, blob.digest) == blob.data
    with pytest.raises(NotFound):
        await stores.uploads.offset(SESSION)


async def test_the_bytes_of_a_committed_upload_need_no_second_hash(stores: Stores) -> None:
    blob = a_blob(pieces=2)
    await stores.uploads.begin(SESSION)
    await stores.uploads.append(SESSION, 0, stream_of(blob.data))
    await stores.uploads.commit(SESSION, blob.digest)

    with await stores.blobs.open(blob.digest) as file:
        assert file.known().pieces == file.every_piece


@pytest.mark.parametrize("size", [0, 1, 2 * MIB])
@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_any_algorithm_and_size_may_be_committed(stores: Stores, size: int, algorithm: Algorithm) -> None:
    blob = blob_of(bytes(size), algorithm)
    await stores.uploads.begin(SESSION)
    await stores.uploads.append(SESSION, None, stream_of(blob.data))

    assert await stores.uploads.commit(SESSION, blob.digest) == blob.metainfo
    assert await held_by(stores, blob.digest) == blob.data


async def test_chunks_may_come_in_many_requests(stores: Stores) -> None:
    blob = blob_of(b"first second third")
    await stores.uploads.begin(SESSION)

    assert await stores.uploads.append(SESSION, 0, stream_of(b"first ")) == 6
    assert await stores.uploads.append(SESSION, None, stream_of(b"second ")) == 13
    await stores.uploads.begin(SESSION)
    assert await stores.uploads.offset(SESSION) == 13
    assert await stores.uploads.append(SESSION, 13, stream_of(b"thi", b"rd")) == 18

    assert await stores.uploads.commit(SESSION, blob.digest) == blob.metainfo


@pytest.mark.parametrize("offset", [0, 4, 6])
async def test_a_chunk_at_another_offset_stores_nothing(stores: Stores, offset: int) -> None:
    await stores.uploads.begin(SESSION)
    await stores.uploads.append(SESSION, 0, stream_of(b"12345"))

    with pytest.raises(OffsetMismatch) as caught:
        await stores.uploads.append(SESSION, offset, stream_of(b"abc"))

    assert caught.value.offset == 5
    assert await stores.uploads.offset(SESSION) == 5


async def test_a_broken_stream_keeps_what_came(stores: Stores) -> None:
    blob = blob_of(bytes(MIB + 10) + b"rest")
    await stores.uploads.begin(SESSION)

    with pytest.raises(ConnectionResetError):
        await stores.uploads.append(SESSION, 0, broken_stream([bytes(MIB), bytes(10)], ConnectionResetError()))

    assert await stores.uploads.offset(SESSION) == MIB + 10
    await stores.uploads.append(SESSION, MIB + 10, stream_of(b"rest"))
    assert await stores.uploads.commit(SESSION, blob.digest) == blob.metainfo


async def test_a_cancelled_request_keeps_what_came(stores: Stores) -> None:
    reached = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield b"12345"
        reached.set()
        await asyncio.Event().wait()

    await stores.uploads.begin(SESSION)
    request = asyncio.create_task(stores.uploads.append(SESSION, 0, stalled()))
    await reached.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request

    assert await stores.uploads.offset(SESSION) == 5
    assert await stores.uploads.append(SESSION, 5, stream_of(b"6")) == 6


async def test_a_second_writer_is_told_to_come_later(stores: Stores) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"slow"
        reached.set()
        await go_on.wait()

    await stores.uploads.begin(SESSION)
    first = asyncio.create_task(stores.uploads.append(SESSION, 0, slow()))
    await reached.wait()

    with pytest.raises(Unavailable):
        await stores.uploads.append(SESSION, 0, stream_of(b"quick"))
    with pytest.raises(Unavailable):
        await stores.uploads.commit(SESSION, Digest.of(b"slow"))
    with pytest.raises(Unavailable):
        await stores.uploads.abandon(SESSION)
    go_on.set()

    assert await first == 4


async def test_a_wrong_digest_is_refused_and_leaves_nothing(stores: Stores) -> None:
    await stores.uploads.begin(SESSION)
    await stores.uploads.append(SESSION, 0, stream_of(b"bytes"))

    with pytest.raises(Rejected):
        await stores.uploads.commit(SESSION, Digest.of(b"other bytes"))

    assert list(stores.blobs.stored()) == []
    with pytest.raises(NotFound):
        await stores.uploads.offset(SESSION)


async def test_two_uploads_of_one_blob_both_succeed(stores: Stores) -> None:
    blob = a_blob(pieces=2)
    for session in (SESSION, OTHER):
        await stores.uploads.begin(session)
        await stores.uploads.append(session, 0, stream_of(blob.data))

    both = await asyncio.gather(stores.uploads.commit(SESSION, blob.digest), stores.uploads.commit(OTHER, blob.digest))

    assert list(both) == [blob.metainfo, blob.metainfo]
    assert await held_by(stores, blob.digest) == blob.data
    assert stores.blobs.used_bytes == len(blob.data)


async def test_an_unknown_session_is_not_found(stores: Stores) -> None:
    with pytest.raises(NotFound):
        await stores.uploads.offset(SESSION)
    with pytest.raises(NotFound):
        await stores.uploads.append(SESSION, 0, stream_of(b"x"))
    with pytest.raises(NotFound):
        await stores.uploads.commit(SESSION, Digest.of(b"x"))
    with pytest.raises(NotFound):
        await stores.uploads.abandon(SESSION)


async def test_an_abandoned_session_is_gone(stores: Stores) -> None:
    await stores.uploads.begin(SESSION)
    await stores.uploads.append(SESSION, 0, stream_of(b"bytes"))

    await stores.uploads.abandon(SESSION)

    with pytest.raises(NotFound):
        await stores.uploads.offset(SESSION)


async def test_a_sweep_drops_the_sessions_that_nobody_wrote_to(stores: Stores) -> None:
    await stores.uploads.begin(SESSION)
    await stores.uploads.append(SESSION, 0, stream_of(b"bytes"))
    year = 365 * 24 * 3600.0

    assert await stores.uploads.sweep(50 * year) == 0
    assert await stores.uploads.offset(SESSION) == 5
    stores.clock.move(100 * year)
    assert await stores.uploads.sweep(50 * year) == 1
    with pytest.raises(NotFound):
        await stores.uploads.offset(SESSION)
