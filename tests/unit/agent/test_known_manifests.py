"""The memory of manifests: it survives a restart, forgets the oldest, and never stands in the way."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kraken.agent import known_manifests
from kraken.agent.known_manifests import KnownManifests
from kraken.core.digest import Digest
from kraken.oci.manifests import OCI_MANIFEST, ManifestRecord
from kraken.oci.references import RepositoryName, Tag
from kraken.runtime.threads import FileThreads

APP, OTHER = RepositoryName("team/app"), RepositoryName("team/other")


def a_record(content: bytes = b"{}") -> ManifestRecord:
    return ManifestRecord(Digest.of(content), OCI_MANIFEST, len(content))


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[KnownManifests]:
    threads = FileThreads(2)
    known = KnownManifests(path, threads)
    try:
        await known.start()
        yield known
        await known.close()
    finally:
        threads.close()


async def test_what_was_learned_of_a_tag_is_known_by_tag_and_digest_after_a_restart(tmp_path: Path) -> None:
    record = a_record()
    async with opened(tmp_path / "known") as known:
        await known.put(APP, Tag("v1"), record)

    async with opened(tmp_path / "known") as known:
        assert await known.get(APP, Tag("v1")) == record
        assert await known.get(APP, record.digest) == record
        assert await known.get(APP, Tag("v2")) is None
        assert await known.get(OTHER, record.digest) is None


async def test_a_tag_that_moved_means_the_new_digest(tmp_path: Path) -> None:
    old, new = a_record(b"old"), a_record(b"new")
    async with opened(tmp_path / "known") as known:
        await known.put(APP, Tag("v1"), old)
        await known.put(APP, Tag("v1"), new)

        assert await known.get(APP, Tag("v1")) == new
        assert await known.get(APP, old.digest) == old


async def test_the_oldest_go_when_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_manifests, "MAX_ROWS", 20)
    async with opened(tmp_path / "known") as known:
        for number in range(30):
            await known.put(APP, Tag(f"v{number}"), a_record(b"%d" % number))
    async with opened(tmp_path / "known") as known:
        known_tags = [number for number in range(30) if await known.get(APP, Tag(f"v{number}"))]
        assert known_tags == list(range(30 - len(known_tags), 30))
        assert 8 <= len(known_tags) <= 11, "two rows each: the tag, and the digest"


async def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "known"
    path.write_bytes(b"not a database" * 100)

    async with opened(path) as known:
        assert known.failure is None
        await known.put(APP, Tag("v1"), a_record())
    async with opened(path) as known:
        assert await known.get(APP, Tag("v1")) == a_record()


async def test_where_no_file_can_be_made_the_memory_lasts_until_the_end(tmp_path: Path) -> None:
    async with opened(tmp_path / "missing" / "known") as known:
        await known.put(APP, Tag("v1"), a_record())

        assert await known.get(APP, Tag("v1")) == a_record()
        assert known.failure is not None


async def test_a_file_that_fails_knows_nothing_and_fails_nobody(tmp_path: Path) -> None:
    async with opened(tmp_path / "known") as known:
        await known.put(APP, Tag("v1"), a_record())
    async with opened(tmp_path / "known") as known:
        other = sqlite3.connect(tmp_path / "known")
        other.execute("DROP TABLE known")
        other.close()

        assert await known.get(APP, Tag("v1")) is None
        await known.put(APP, Tag("v1"), a_record())
        assert await known.get(APP, Tag("v1")) == a_record()  # as long as the process lives
