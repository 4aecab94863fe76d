"""What contract tests of the stores do not reach: sharing, cancellation, the order of hashing."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.contracts.stores import Stores, disk_stores
from tests.helpers.blobs import a_blob

from kraken.core.digest import Digest
from kraken.core.errors import Corrupt
from kraken.core.metainfo import Metainfo
from kraken.core.pieces import PieceIndex
from kraken.runtime.threads import FileThreads
from kraken.storage.hashing import Verify


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    threads = FileThreads(workers=1)
    made = disk_stores(tmp_path, threads)
    await made.blobs.start()
    yield made
    await made.blobs.close()
    threads.close()


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


async def test_the_descriptor_closes_with_the_last_reference(stores: Stores) -> None:
    file = await stores.blobs.partial(a_blob().metainfo)
    file.acquire()
    file.release()
    assert is_open(file.fd)

    file.release()
    assert not is_open(file.fd)


async def test_a_cancelled_write_holds_its_caller_until_the_buffer_is_free(stores: Stores) -> None:
    blob = a_blob(pieces=2)
    gate = threading.Event()
    with await stores.blobs.partial(blob.metainfo) as file:
        blocked = asyncio.get_running_loop().run_in_executor(None, lambda: None)
        await blocked
        threads = file._threads
        occupied = threads.submit(gate.wait)  # the only worker: the write waits behind it
        write = asyncio.create_task(file.write_piece(PieceIndex(0), blob.piece(PieceIndex(0))))
        await asyncio.sleep(0)
        write.cancel()
        await asyncio.sleep(0)
        assert not write.done()

        gate.set()
        await occupied
        with pytest.raises(asyncio.CancelledError):
            await write
        assert is_open(file.fd)


async def test_one_check_serves_all_who_ask_at_once(stores: Stores) -> None:
    blob = a_blob(pieces=2)
    file = await stores.blobs.partial(blob.metainfo)
    for piece in blob.metainfo.pieces.indices():
        await file.write_piece(piece, blob.piece(piece))
    await stores.blobs.finish(file)
    os.utime(file.fd, ns=(1, 1))  # changed, as far as anybody can tell

    first = asyncio.create_task(file.verify(PieceIndex(0)))
    second = asyncio.create_task(file.verify(PieceIndex(0)))
    await asyncio.sleep(0)
    first.cancel()
    file.release()

    assert await second
    await asyncio.gather(first, return_exceptions=True)
    await asyncio.sleep(0)
    assert not is_open(file.fd)


async def test_pieces_in_order_are_hashed_without_reading_them_again(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = a_blob(pieces=3)
    with await stores.blobs.partial(blob.metainfo) as file:
        for piece in blob.metainfo.pieces.indices():
            await file.write_piece(piece, blob.piece(piece))
        monkeypatch.setattr(os, "preadv", None)  # a read would fail

        await file.hash_to_frontier()
        assert file.digest_matches()


async def test_a_piece_that_is_held_is_not_written_again(stores: Stores) -> None:
    blob = a_blob(pieces=2)
    with await stores.blobs.partial(blob.metainfo) as file:
        assert await file.write_piece(PieceIndex(0), blob.piece(PieceIndex(0)))
        assert await file.write_piece(PieceIndex(0), memoryview(b"anything"))

        assert await file.read(0, 10) == blob.data[:10]


@pytest.mark.parametrize(("held", "frontier"), [(0b0, 0), (0b10, 0), (0b01, 1), (0b1011, 2), (0b1111, 4)])
async def test_the_frontier_is_the_first_hole(stores: Stores, held: int, frontier: int) -> None:
    blob = a_blob(pieces=4)
    with await stores.blobs.partial(blob.metainfo) as file:
        for piece in blob.metainfo.pieces.indices():
            if held >> piece & 1:
                await file.write_piece(piece, blob.piece(piece))

        assert file.frontier == min(frontier * blob.metainfo.pieces.piece_length, len(blob.data))


async def test_a_buffer_can_be_filled_from_any_offset(stores: Stores) -> None:
    blob = a_blob(pieces=2)
    with await stores.blobs.partial(blob.metainfo) as file:
        for piece in blob.metainfo.pieces.indices():
            await file.write_piece(piece, blob.piece(piece))
        buffer = bytearray(20)

        assert file.pread_into(memoryview(buffer), len(blob.data) - 10) == 10
        assert buffer[:10] == blob.data[-10:]


async def test_where_pieces_alone_are_checked_the_digest_of_the_whole_is_believed(tmp_path: Path) -> None:
    """The metainfo of another blob of the same bytes: only the digest of the whole can tell."""
    blob, threads = a_blob(pieces=2), FileThreads()
    told = Metainfo(Digest.of(b"another blob"), blob.metainfo.pieces, blob.metainfo.piece_hashes)
    for verify in Verify:
        made = disk_stores(tmp_path / verify.value, threads, verify)
        await made.blobs.start()
        with await made.blobs.partial(told) as file:
            assert not await file.write_piece(PieceIndex(0), memoryview(bytes(len(blob.piece(PieceIndex(0))))))
            for number in range(2):
                assert await file.write_piece(PieceIndex(number), blob.piece(PieceIndex(number)))
            if verify is Verify.BLOB:
                with pytest.raises(Corrupt):
                    await made.blobs.finish(file)
            else:
                await made.blobs.finish(file)
            assert file.complete is (verify is Verify.PIECES)
        await made.blobs.close()
    threads.close()
