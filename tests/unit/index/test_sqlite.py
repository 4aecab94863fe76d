"""The index on disk: what survives, and what cannot be opened."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from kraken.core.digest import Digest
from kraken.core.errors import BadConfig, OutOfSpace, Unavailable
from kraken.index.records import NewManifest, Write
from kraken.index.sqlite import SqliteIndexStore
from kraken.index.versions import Version
from kraken.oci.manifests import OCI_MANIFEST, ManifestRecord
from kraken.oci.references import RepositoryName, Tag
from kraken.runtime.clock import SystemClock

APP = RepositoryName("team/app")


def write(number: int) -> Write:
    record = ManifestRecord(Digest.of(str(number).encode()), OCI_MANIFEST, 5)
    return Write(
        APP, Version(number, 0, "00000000000000aa"), NewManifest(record), {Tag(f"t{number:04}"): record.digest}
    )


async def tags(store: SqliteIndexStore) -> list[str]:
    found = await store.tags(APP, None, 1000)
    return [tag for tag, _entry in found.rows] if found else []


async def test_what_was_acknowledged_is_there_for_the_next_one_who_opens_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "index.sqlite"
    first = SqliteIndexStore(path, SystemClock())
    await first.put(write(1))
    second = SqliteIndexStore(path, SystemClock())  # as after kill -9: the first was never closed

    found = await second.resolve(APP, Tag("t0001"))

    assert found is not None
    assert found.value is not None
    assert found.value.digest == Digest.of(b"1")
    for store in (first, second):
        await store.close()


async def test_writes_that_come_at_once_are_all_kept(tmp_path: Path) -> None:
    store = SqliteIndexStore(tmp_path / "index.sqlite", SystemClock())
    await asyncio.gather(*(store.put(write(number)) for number in range(1, 701)))

    assert await tags(store) == [f"t{number:04}" for number in range(1, 701)]
    await store.close()


async def test_closing_finishes_the_writes_that_wait_and_refuses_new_ones(tmp_path: Path) -> None:
    store = SqliteIndexStore(tmp_path / "index.sqlite", SystemClock())
    waiting = [asyncio.create_task(store.put(write(number))) for number in range(1, 21)]
    await asyncio.sleep(0)
    await store.close()
    await store.close()

    assert len(await asyncio.gather(*waiting)) == 20
    with pytest.raises(Unavailable):
        await store.put(write(50))
    with pytest.raises(Unavailable):
        await store.tags(APP, None, 1)


async def test_a_full_disk_is_told_and_the_next_write_works_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    await SqliteIndexStore(path, SystemClock()).close()
    store = SqliteIndexStore(path, SystemClock())
    pages = store._writing.execute("PRAGMA page_count").fetchone()[0]
    store._writing.execute(f"PRAGMA max_page_count={pages}")

    outcomes = await asyncio.gather(*(store.put(write(number)) for number in range(1, 501)), return_exceptions=True)
    kept = [f"t{number:04}" for number, outcome in enumerate(outcomes, 1) if isinstance(outcome, Version)]
    assert {type(outcome) for outcome in outcomes} - {Version} == {OutOfSpace}
    assert await tags(store) == kept

    store._writing.execute("PRAGMA max_page_count=100000")
    await store.put(write(1000))
    assert await tags(store) == [*kept, "t1000"]
    await store.close()


def test_a_file_that_is_no_index_is_refused_in_one_line(tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"rubbish" * 1000)
    newer = tmp_path / "newer"
    with sqlite3.connect(newer) as base:
        base.execute("PRAGMA user_version=99")
    base.close()
    blocked = tmp_path / "file"
    blocked.write_text("")

    for path in (rubbish, newer, blocked / "index.sqlite"):
        with pytest.raises(BadConfig, match=r"^[^\n]+$"):
            SqliteIndexStore(path, SystemClock())
