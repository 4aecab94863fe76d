"""What every `BlobStore` promises."""

from __future__ import annotations

import os

import pytest
from tests.contracts.stores import Stores, stores
from tests.helpers.blobs import Blob, a_blob, blob_of, stream_of

from kraken.core.digest import Algorithm, Digest
from kraken.core.errors import Corrupt, NotFound, Rejected
from kraken.core.metainfo import Metainfo, SwarmId
from kraken.core.pieces import PieceIndex
from kraken.storage.io.blob_file import BlobFile
from kraken.storage.layout import session_id

__all__ = ["stores"]

UNKNOWN = Digest.of(b"nobody pushed this")


async def filled(stores: Stores, blob: Blob, *, without: int = -1) -> BlobFile:
    """A partial blob with every piece written but one."""
    file = await stores.blobs.partial(blob.metainfo)
    for piece in blob.metainfo.pieces.indices():
        if piece != without:
            assert await file.write_piece(piece, blob.piece(piece))
    return file


async def put(stores: Stores, blob: Blob) -> None:
    """Make `blob` a complete blob of the store."""
    with await filled(stores, blob) as file:
        await stores.blobs.finish(file)


def damage(file: BlobFile, offset: int) -> None:
    """Change one byte behind the store's back, at another time than that of the last write."""
    byte = os.pread(file.fd, 1, offset)
    os.pwrite(file.fd, bytes([byte[0] ^ 1]), offset)
    stat = os.fstat(file.fd)
    os.utime(file.fd, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))


async def test_an_unknown_blob_has_no_size_and_cannot_be_opened(stores: Stores) -> None:
    assert await stores.blobs.size(UNKNOWN) is None
    assert await stores.blobs.open_swarm(SwarmId(bytes(20))) is None
    with pytest.raises(NotFound):
        await stores.blobs.open(UNKNOWN)


@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_a_blob_that_was_filled_piece_by_piece_reads_back_whole(stores: Stores, algorithm: Algorithm) -> None:
    blob = a_blob(pieces=3, algorithm=algorithm)

    await put(stores, blob)

    assert await stores.blobs.size(blob.digest) == len(blob.data)
    with await stores.blobs.open(blob.digest) as file:
        assert file.complete
        assert file.metainfo == blob.metainfo
        assert await file.read(0, file.size) == blob.data
        assert await file.read(300_000, 5) == blob.data[300_000:300_005]


@pytest.mark.parametrize("algorithm", list(Algorithm))
@pytest.mark.parametrize("size", [0, 5, 600_000])
async def test_bytes_at_hand_become_a_blob(stores: Stores, algorithm: Algorithm, size: int) -> None:
    blob = blob_of(bytes(size), algorithm)
    for _ in range(2):
        assert await stores.blobs.put(blob.digest, blob.data) == blob.metainfo

    assert await stores.blobs.size(blob.digest) == size
    with await stores.blobs.open(blob.digest) as file:
        assert (file.complete, await file.read(0, size)) == (True, blob.data)


async def test_bytes_at_hand_with_another_digest_are_refused(stores: Stores) -> None:
    with pytest.raises(Rejected, match=str(Digest.of(b"other"))):
        await stores.blobs.put(UNKNOWN, b"other")
    assert list(stores.blobs.stored()) == []


async def test_bytes_at_hand_take_the_place_of_what_was_there_of_the_blob(stores: Stores) -> None:
    blob = a_blob(pieces=2)
    with await filled(stores, blob, without=1):
        await stores.blobs.put(blob.digest, blob.data)

    with await stores.blobs.open(blob.digest) as file:
        assert await file.read(0, file.size) == blob.data


async def test_a_blob_of_no_bytes_is_complete_once_finished(stores: Stores) -> None:
    blob = blob_of(b"")

    await put(stores, blob)

    assert await stores.blobs.size(blob.digest) == 0
    with await stores.blobs.open(blob.digest) as file:
        assert (file.complete, file.held) == (True, 0)
        assert await file.read(0, 0) == b""


async def test_a_partial_blob_is_found_by_swarm_but_not_by_digest(stores: Stores) -> None:
    blob = a_blob(pieces=3)
    with await filled(stores, blob, without=1):
        assert await stores.blobs.size(blob.digest) is None
        assert list(stores.blobs.digests()) == []
        with pytest.raises(NotFound):
            await stores.blobs.open(blob.digest)

        found = await stores.blobs.open_swarm(blob.metainfo.swarm)

        assert found is not None
        with found:
            assert (found.held, found.complete, found.frontier) == (0b101, False, blob.metainfo.pieces.piece_length)


async def test_a_piece_with_wrong_bytes_is_refused_and_not_held(stores: Stores) -> None:
    blob = a_blob(pieces=2)
    with await stores.blobs.partial(blob.metainfo) as file:
        assert not await file.write_piece(PieceIndex(0), blob.piece(PieceIndex(1)))
        assert not await file.write_piece(PieceIndex(0), memoryview(bytes(262144)))
        assert file.held == 0


async def test_all_users_of_a_blob_share_one_open_file(stores: Stores) -> None:
    blob = a_blob()
    await put(stores, blob)
    with await stores.blobs.open(blob.digest) as one, await stores.blobs.partial(blob.metainfo) as other:
        assert one is other


async def test_a_partial_blob_closed_and_opened_again_has_its_pieces(stores: Stores) -> None:
    blob = a_blob(pieces=3)
    with await filled(stores, blob, without=2):
        pass

    with await stores.blobs.partial(blob.metainfo) as file:
        assert file.held == 0b011
        assert await file.write_piece(PieceIndex(2), blob.piece(PieceIndex(2)))
        await stores.blobs.finish(file)

    assert await stores.blobs.size(blob.digest) == len(blob.data)


async def test_a_claimed_piece_that_rotted_while_closed_is_not_held_again(stores: Stores) -> None:
    blob = a_blob(pieces=3)
    with await filled(stores, blob, without=2) as file:
        damage(file, 10)
        fd = os.dup(file.fd)
    os.utime(fd)  # and its time is another one than when the store closed it
    os.close(fd)

    with await stores.blobs.partial(blob.metainfo) as file:
        assert file.held == 0b010


async def test_a_changed_piece_fails_its_check_and_leaves_the_held_ones(stores: Stores) -> None:
    blob = a_blob(pieces=3)
    await put(stores, blob)
    with await stores.blobs.open(blob.digest) as file:
        assert await file.verify(PieceIndex(1))
        damage(file, blob.metainfo.pieces.start(PieceIndex(1)))

        assert not await file.verify(PieceIndex(1))
        assert await file.verify(PieceIndex(0))
        assert (file.complete, file.held) == (False, 0b101)
        assert await stores.blobs.size(blob.digest) is None


async def test_a_demoted_blob_wants_only_its_bad_piece(stores: Stores) -> None:
    blob = a_blob(pieces=3)
    await put(stores, blob)
    with await stores.blobs.open(blob.digest) as file:
        damage(file, 0)
        assert not await file.verify(PieceIndex(0))
        await stores.blobs.demote(file)
        assert (file.committed, file.held) == (False, 0b110)

    with await stores.blobs.partial(blob.metainfo) as file:
        assert file.held == 0b110
        assert await file.write_piece(PieceIndex(0), blob.piece(PieceIndex(0)))
        await stores.blobs.finish(file)

    with await stores.blobs.open(blob.digest) as file:
        assert await file.read(0, file.size) == blob.data


async def test_a_demoted_blob_holds_only_pieces_that_were_hashed(stores: Stores) -> None:
    blob = a_blob(pieces=4)
    await put(stores, blob)
    with await stores.blobs.open(blob.digest) as file:
        for piece in (0, 2, 3):
            damage(file, blob.metainfo.pieces.start(PieceIndex(piece)))
        assert not await file.verify(PieceIndex(0))

        await stores.blobs.demote(file)

        assert file.held == 0b0010


async def test_filling_a_complete_blob_that_lost_a_piece_demotes_it(stores: Stores) -> None:
    blob = a_blob(pieces=2)
    await put(stores, blob)
    with await stores.blobs.open(blob.digest) as file:
        damage(file, 0)
        await file.verify(PieceIndex(0))

        with await stores.blobs.partial(blob.metainfo) as again:
            assert again is file
            assert not file.committed
            assert await file.write_piece(PieceIndex(0), blob.piece(PieceIndex(0)))
            await stores.blobs.finish(file)

    assert await stores.blobs.size(blob.digest) == len(blob.data)


async def test_a_blob_cut_short_fails_its_check(stores: Stores) -> None:
    blob = a_blob(pieces=2)
    await put(stores, blob)
    with await stores.blobs.open(blob.digest) as file:
        os.ftruncate(file.fd, 100)

        assert not await file.verify(PieceIndex(0))
        assert not await file.verify(PieceIndex(1))
        with pytest.raises(Corrupt):
            await file.read(0, 200)


async def test_pieces_that_do_not_make_the_digest_go_into_quarantine(stores: Stores) -> None:
    honest = a_blob(pieces=2)
    liar = a_blob(pieces=2, seed=1)
    forged = Blob(liar.data, Metainfo(honest.digest, liar.metainfo.pieces, liar.metainfo.piece_hashes))
    with await filled(stores, forged) as file:
        with pytest.raises(Corrupt):
            await stores.blobs.finish(file)

        assert file.held == 0
        assert not await file.verify(PieceIndex(0))
    assert await stores.blobs.size(honest.digest) is None
    assert list(stores.blobs.stored()) == []
    assert stores.metrics.value("kraken_quarantined_total") == 1.0


async def test_a_partial_blob_with_other_hashes_is_begun_anew(stores: Stores) -> None:
    honest = a_blob(pieces=2)
    liar = a_blob(pieces=2, seed=1)
    forged = Blob(liar.data, Metainfo(honest.digest, liar.metainfo.pieces, liar.metainfo.piece_hashes))
    with await filled(stores, forged, without=0):
        pass

    with await stores.blobs.partial(honest.metainfo) as file:
        assert file.held == 0


async def test_a_removed_blob_is_gone_but_who_reads_it_reads_on(stores: Stores) -> None:
    blob = a_blob()
    await put(stores, blob)
    with await stores.blobs.open(blob.digest) as file:
        await stores.blobs.remove(blob.digest)
        await stores.blobs.remove(blob.digest)

        assert await stores.blobs.size(blob.digest) is None
        assert await file.read(0, file.size) == blob.data
    assert await stores.blobs.open_swarm(blob.metainfo.swarm) is None


async def test_a_blob_in_quarantine_is_served_no_more(stores: Stores) -> None:
    blob = a_blob()
    await put(stores, blob)
    with await stores.blobs.open(blob.digest) as file:
        await stores.blobs.quarantine(blob.digest, "a test says so")

        assert not await file.verify(PieceIndex(0))
    with pytest.raises(NotFound):
        await stores.blobs.open(blob.digest)


async def test_an_upload_may_overtake_a_download_of_the_same_blob(stores: Stores) -> None:
    blob = a_blob(pieces=2)
    session = session_id("session-1")
    with await filled(stores, blob) as file:
        await stores.uploads.begin(session)
        await stores.uploads.append(session, 0, stream_of(blob.data))
        await stores.uploads.commit(session, blob.digest)

        await stores.blobs.finish(file)

    with await stores.blobs.open(blob.digest) as file:
        assert await file.read(0, file.size) == blob.data


async def test_finishing_a_blob_that_was_removed_meanwhile_is_not_found(stores: Stores) -> None:
    blob = a_blob(pieces=2)
    with await filled(stores, blob) as file:
        await stores.blobs.remove(blob.digest)

        with pytest.raises(NotFound):
            await stores.blobs.finish(file)


async def test_the_store_tells_what_takes_room_and_when_it_was_used(stores: Stores) -> None:
    old, young, partial = a_blob(seed=1), a_blob(seed=2), a_blob(pieces=2, seed=3)
    await put(stores, old)
    stores.clock.move(60)
    await put(stores, young)
    stores.clock.move(60)
    with await stores.blobs.open(old.digest), await stores.blobs.partial(partial.metainfo):
        entries = {entry.digest: entry for entry in stores.blobs.stored()}

    assert {digest: entry.complete for digest, entry in entries.items()} == {
        old.digest: True,
        young.digest: True,
        partial.digest: False,
    }
    assert {digest: entry.in_use for digest, entry in entries.items()} == {
        old.digest: True,
        young.digest: False,
        partial.digest: True,
    }
    assert entries[old.digest].used_at - entries[young.digest].used_at == 60
    assert {entry.digest for entry in stores.blobs.digests()} == {old.digest, young.digest}
    assert stores.blobs.used_bytes == sum(len(blob.data) for blob in (old, young, partial))
    assert stores.metrics.value("kraken_store_blobs") == 2.0
    assert stores.metrics.value("kraken_store_bytes") == len(old.data) + len(young.data)


async def test_the_hash_follows_the_frontier_in_any_order_of_pieces(stores: Stores) -> None:
    blob = a_blob(pieces=4)
    with await stores.blobs.partial(blob.metainfo) as file:
        for number in (1, 0, 3, 2):
            assert await file.write_piece(PieceIndex(number), blob.piece(PieceIndex(number)))
            await file.hash_to_frontier()

        assert file.digest_matches()
