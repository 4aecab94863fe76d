"""The store on disk after crashes, on a full disk, and behind an operator's back."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.contracts.stores import Stores, disk_stores
from tests.helpers.blobs import Blob, a_blob, blob_of, stream_of

from kraken.core.digest import Digest
from kraken.core.errors import BadConfig, Corrupt, NotFound, OutOfSpace
from kraken.core.pieces import PieceIndex
from kraken.runtime.threads import FileThreads
from kraken.storage.io import files
from kraken.storage.layout import Layout, session_id

Start = Callable[[], Awaitable[Stores]]

SESSION = session_id("session-1")


@pytest.fixture
def threads() -> FileThreads:
    return FileThreads()


@pytest.fixture
async def start(tmp_path: Path, threads: FileThreads) -> AsyncIterator[Start]:
    """Starts stores on the same directory, again and again, each time after a crash of the one before."""
    running: list[Stores] = []

    async def start() -> Stores:
        for crashed in running:
            await crashed.blobs.close()  # no more than the kernel does for a killed process: the lock is free
        running[:] = [disk_stores(tmp_path, threads)]
        await running[0].blobs.start()
        return running[0]

    yield start
    await running[0].blobs.close()
    threads.close()


async def put(stores: Stores, blob: Blob) -> None:
    await stores.uploads.begin(SESSION)
    await stores.uploads.append(SESSION, 0, stream_of(blob.data))
    await stores.uploads.commit(SESSION, blob.digest)


def every_file(root: Path) -> set[Path]:
    return {path.relative_to(root) for path in root.rglob("*") if path.is_file()} - {Path("lock")}


async def test_blobs_and_their_age_survive_a_restart(start: Start, tmp_path: Path) -> None:
    old, young = a_blob(seed=1), a_blob(seed=2)
    stores = await start()
    await put(stores, young)
    await put(stores, old)
    for blob, later in ((old, 10), (young, 20)):
        stores.clock.move(later)
        with await stores.blobs.open(blob.digest):
            pass

    stores = await start()
    found = {entry.digest: entry for entry in stores.blobs.stored()}

    assert found.keys() == {old.digest, young.digest}
    assert found[young.digest].used_at - found[old.digest].used_at == 20
    assert stores.blobs.used_bytes == len(old.data) + len(young.data)
    with await stores.blobs.open(old.digest) as file:
        assert await file.read(0, file.size) == old.data


async def test_a_partial_blob_goes_on_after_a_crash_with_the_pieces_that_are_right(
    start: Start, tmp_path: Path
) -> None:
    blob = a_blob(pieces=4)
    stores = await start()
    file = await stores.blobs.partial(blob.metainfo)
    for piece in (0, 1, 3):
        await file.write_piece(PieceIndex(piece), blob.piece(PieceIndex(piece)))
    os.pwrite(file.fd, b"torn", 300_000)  # claimed, but the power failed before its bytes were on disk

    stores = await start()
    with await stores.blobs.partial(blob.metainfo) as again:
        assert again.held == 0b1001
        for piece in (1, 2):
            await again.write_piece(PieceIndex(piece), blob.piece(PieceIndex(piece)))
        await stores.blobs.finish(again)

    assert every_file(tmp_path) == {
        path.relative_to(tmp_path)
        for path in (Layout(tmp_path).blob(blob.digest), Layout(tmp_path).metainfo(blob.metainfo.swarm))
    }


async def test_a_swarm_finds_its_partial_blob_after_a_restart_and_checks_each_piece(start: Start) -> None:
    blob = a_blob(pieces=3)
    stores = await start()
    file = await stores.blobs.partial(blob.metainfo)
    for piece in (0, 1):
        await file.write_piece(PieceIndex(piece), blob.piece(PieceIndex(piece)))
    os.pwrite(file.fd, b"torn", 0)

    stores = await start()
    again = await stores.blobs.open_swarm(blob.metainfo.swarm)

    assert again is not None
    with again:
        assert not await again.verify(PieceIndex(0))
        assert await again.verify(PieceIndex(1))
        assert again.held == 0b010


async def test_a_start_sweeps_what_a_crash_left(start: Start, tmp_path: Path) -> None:
    kept, half = a_blob(seed=1), a_blob(seed=2)
    layout = Layout(tmp_path)
    stores = await start()
    await put(stores, kept)
    before = every_file(tmp_path)

    layout.new.joinpath("draft").write_bytes(b"half a metainfo")
    layout.partial(half.digest).write_bytes(b"created, but its room not yet reserved")
    layout.claims(half.digest).write_bytes(b"\1")
    layout.claims(Digest.of(b"x")).write_bytes(b"\1")
    orphan = layout.metainfo(half.metainfo.swarm)
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(half.metainfo.encode())
    layout.partial(kept.digest).write_bytes(kept.data)  # a download that an upload overtook
    await start()

    assert every_file(tmp_path) == before


async def test_lost_metainfo_is_made_again_from_the_blob(start: Start, tmp_path: Path) -> None:
    blob = a_blob(pieces=3)
    await put(await start(), blob)
    path = Layout(tmp_path).metainfo(blob.metainfo.swarm)
    for damage in (lambda: path.unlink(), lambda: path.write_bytes(b"KRM1 nonsense")):
        damage()
        stores = await start()
        with await stores.blobs.open(blob.digest) as file:
            assert file.metainfo == blob.metainfo
        assert path.read_bytes() == blob.metainfo.encode()


async def test_a_bad_blob_without_metainfo_goes_into_quarantine(start: Start, tmp_path: Path) -> None:
    blob = a_blob(pieces=3)
    layout = Layout(tmp_path)
    await put(await start(), blob)
    layout.metainfo(blob.metainfo.swarm).unlink()
    layout.blob(blob.digest).write_bytes(bytes(len(blob.data)))
    stores = await start()

    with pytest.raises(Corrupt):
        await stores.blobs.open(blob.digest)

    assert await stores.blobs.size(blob.digest) is None
    assert [path.name.endswith(blob.digest.encoded) for path in layout.quarantine.iterdir()] == [True]


async def test_a_blob_that_was_deleted_by_hand_is_not_found(start: Start, tmp_path: Path) -> None:
    blob = a_blob()
    stores = await start()
    await put(stores, blob)
    Layout(tmp_path).blob(blob.digest).unlink()

    with pytest.raises(NotFound):
        await stores.blobs.open(blob.digest)
    assert await stores.blobs.size(blob.digest) is None
    await put(stores, blob)
    assert await stores.blobs.size(blob.digest) == len(blob.data)


async def test_a_blob_cut_short_before_it_was_opened_is_corrupt(start: Start, tmp_path: Path) -> None:
    blob = a_blob()
    stores = await start()
    await put(stores, blob)
    os.truncate(Layout(tmp_path).blob(blob.digest), 10)

    with pytest.raises(Corrupt):
        await stores.blobs.open(blob.digest)


async def test_an_upload_goes_on_after_a_crash(start: Start) -> None:
    blob = a_blob(pieces=9)
    stores = await start()
    await stores.uploads.begin(SESSION)
    await stores.uploads.append(SESSION, 0, stream_of(blob.data[:1_500_000]))

    stores = await start()
    assert await stores.uploads.offset(SESSION) == 1_500_000
    await stores.uploads.begin(SESSION)
    assert await stores.uploads.append(SESSION, 1_500_000, stream_of(blob.data[1_500_000:])) == len(blob.data)
    assert await stores.uploads.commit(SESSION, blob.digest) == blob.metainfo


async def test_an_upload_is_committed_after_a_crash(start: Start) -> None:
    blob = a_blob(pieces=2)
    stores = await start()
    await stores.uploads.begin(SESSION)
    await stores.uploads.append(SESSION, 0, stream_of(blob.data))

    stores = await start()
    assert await stores.uploads.commit(SESSION, blob.digest) == blob.metainfo


def full_disk(*_args: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_a_full_disk_leaves_nothing_of_a_new_partial_blob(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = a_blob()
    stores = await start()
    monkeypatch.setattr(os, "posix_fallocate", full_disk)

    with pytest.raises(OutOfSpace):
        await stores.blobs.partial(blob.metainfo)

    assert every_file(tmp_path) == set()
    assert stores.blobs.used_bytes == 0
    monkeypatch.undo()
    with await stores.blobs.partial(blob.metainfo) as file:
        assert file.held == 0


async def test_a_full_disk_leaves_an_upload_that_can_go_on(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = a_blob(pieces=2)
    stores = await start()
    await stores.uploads.begin(SESSION)
    await stores.uploads.append(SESSION, 0, stream_of(blob.data[:1000]))
    really_write = os.pwrite

    def nearly_full_disk(fd: int, data: bytes, offset: int) -> int:
        if offset > 1000:
            return full_disk()
        return really_write(fd, data[:10], offset)  # a part still fits

    monkeypatch.setattr(os, "pwrite", nearly_full_disk)
    with pytest.raises(OutOfSpace):
        await stores.uploads.append(SESSION, 1000, stream_of(blob.data[1000:]))
    monkeypatch.undo()

    assert await stores.uploads.offset(SESSION) == 1000
    await stores.uploads.append(SESSION, 1000, stream_of(blob.data[1000:]))
    assert await stores.uploads.commit(SESSION, blob.digest) == blob.metainfo


async def test_a_full_disk_at_commit_keeps_the_session(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = a_blob(pieces=2)
    stores = await start()
    await stores.uploads.begin(SESSION)
    await stores.uploads.append(SESSION, 0, stream_of(blob.data))
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OutOfSpace):
        await stores.uploads.commit(SESSION, blob.digest)
    monkeypatch.undo()

    assert await stores.blobs.size(blob.digest) is None
    assert not Layout(tmp_path).blob(blob.digest).exists()
    assert await stores.uploads.commit(SESSION, blob.digest) == blob.metainfo


async def test_bytes_and_metainfo_are_durable_before_a_blob_appears(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = a_blob(pieces=2)
    layout = Layout(tmp_path)
    stores = await start()
    await stores.uploads.begin(SESSION)
    await stores.uploads.append(SESSION, 0, stream_of(blob.data))
    synced: list[tuple[str, bool]] = []
    really_sync = os.fsync

    def record(fd: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{fd}"), layout.blob(blob.digest).exists()))
        really_sync(fd)

    monkeypatch.setattr(os, "fsync", record)
    await stores.uploads.commit(SESSION, blob.digest)

    metainfo, target = layout.metainfo(blob.metainfo.swarm), layout.blob(blob.digest)
    before = [path for path, is_there in synced if not is_there]
    after = [path for path, is_there in synced if is_there]
    assert {str(metainfo), str(metainfo.parent), str(layout.upload(SESSION)), str(target.parent.parent)} <= set(before)
    assert after == [str(target.parent)]


async def test_a_small_blob_is_durable_when_it_was_put_and_needs_no_metainfo_to_be_opened_again(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob, layout = blob_of(b"bytes"), Layout(tmp_path)
    target = layout.blob(blob.digest)
    synced: list[tuple[str, bool]] = []
    really_sync = os.fsync

    def record(fd: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{fd}"), target.exists()))
        really_sync(fd)

    stores = await start()
    monkeypatch.setattr(os, "fsync", record)
    await stores.blobs.put(blob.digest, blob.data)
    monkeypatch.undo()
    assert (str(layout.new / target.name), False) in synced
    assert synced[-1] == (str(target.parent), True)
    await stores.blobs.close()

    again = await start()
    assert await again.blobs.size(blob.digest) == len(blob.data)
    with await again.blobs.open(blob.digest) as file:
        assert file.metainfo == blob.metainfo
    target.write_bytes(b"byteX")
    await again.blobs.close()

    spoiled = await start()
    assert await spoiled.blobs.size(blob.digest) is None
    assert not target.exists()


async def test_a_directory_that_cannot_be_used_is_one_clear_error(tmp_path: Path, threads: FileThreads) -> None:
    (tmp_path / "file").write_text("not a directory")

    with pytest.raises(BadConfig, match="cannot be used"):
        await disk_stores(tmp_path / "file", threads).blobs.start()


async def test_two_stores_cannot_share_a_directory(start: Start, tmp_path: Path, threads: FileThreads) -> None:
    await start()

    with pytest.raises(BadConfig, match="in use"):
        await disk_stores(tmp_path, threads).blobs.start()


def test_an_error_other_than_a_full_disk_stays_what_it_is() -> None:
    with pytest.raises(PermissionError), files.space_checked("a test"):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(OutOfSpace), files.space_checked("a test"):
        raise OSError(errno.EDQUOT, "quota")
