"""Every index store: the newest write wins, in whatever order writes come."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from kraken.core.digest import Digest
from kraken.index.memory import MemoryIndexStore
from kraken.index.records import IndexStore, ManifestWrite, Resolved
from kraken.index.sqlite import SqliteIndexStore
from kraken.index.versions import Version
from kraken.oci.manifests import OCI_MANIFEST, ManifestRecord
from kraken.oci.references import RepositoryName, Tag
from kraken.oci.referrers import About, Referrer

APP, OTHER = RepositoryName("team/app"), RepositoryName("team")
LATEST = Tag("latest")


def version(number: int) -> Version:
    return Version(number, 0, "00000000000000aa")


def record(name: str, media_type: str = OCI_MANIFEST) -> ManifestRecord:
    return ManifestRecord(Digest.of(name.encode()), media_type, len(name))


def write(name: str, number: int, *tags: str, repository: RepositoryName = APP) -> ManifestWrite:
    return ManifestWrite(repository, record(name), tuple(map(Tag, tags)), version(number))


@pytest.fixture(params=[lambda _path: MemoryIndexStore(), lambda path: SqliteIndexStore(path / "index.sqlite")])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[IndexStore]:
    build: Callable[[Path], IndexStore] = request.param
    built = build(tmp_path)
    yield built
    await built.close()


async def test_a_manifest_is_found_by_its_tags_and_its_digest_in_its_repository(store: IndexStore) -> None:
    assert await store.put(write("one", 1, "latest", "v1")) == version(1)

    for reference in (LATEST, Tag("v1"), record("one").digest):
        assert await store.resolve(APP, reference) == Resolved(record("one"), version(1))
        assert await store.resolve(OTHER, reference) is None
    assert await store.resolve(APP, Tag("v2")) is None
    assert await store.resolve(APP, record("two").digest) is None


async def test_a_tag_moves_and_the_manifest_it_left_stays(store: IndexStore) -> None:
    await store.put(write("one", 1, "latest"))
    await store.put(write("two", 2, "latest"))

    assert await store.resolve(APP, LATEST) == Resolved(record("two"), version(2))
    assert await store.resolve(APP, record("one").digest) == Resolved(record("one"), version(1))


async def test_an_older_write_changes_nothing_and_is_told_what_stands(store: IndexStore) -> None:
    await store.put(write("two", 2, "latest"))

    assert await store.put(write("one", 1, "latest", "v1")) == version(2)
    assert await store.resolve(APP, LATEST) == Resolved(record("two"), version(2))
    assert await store.resolve(APP, Tag("v1")) == Resolved(record("one"), version(1))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_the_order_of_writes_does_not_matter(store: IndexStore, order: tuple[int, ...]) -> None:
    writes = [write("a", 1, "x", "y"), write("b", 2, "x"), write("a", 3, "y", "z")]
    for number in order:
        await store.put(writes[number])

    assert await store.resolve(APP, Tag("x")) == Resolved(record("b"), version(2))
    assert await store.resolve(APP, Tag("y")) == Resolved(record("a"), version(3))
    assert await store.resolve(APP, Tag("z")) == Resolved(record("a"), version(3))
    assert await store.resolve(APP, record("a").digest) == Resolved(record("a"), version(3))


async def test_the_same_write_may_come_twice(store: IndexStore) -> None:
    for _ in range(2):
        assert await store.put(write("one", 1, "latest")) == version(1)


async def test_known_manifests_are_those_of_the_repository(store: IndexStore) -> None:
    await store.put(write("one", 1))
    await store.put(write("two", 2, repository=OTHER))
    digests = [record(name).digest for name in ("one", "two", "three")]

    assert await store.known(APP, digests) == {record("one").digest}
    assert await store.known(APP, []) == set()


async def test_tags_come_in_bytewise_order_after_the_last_one(store: IndexStore) -> None:
    await store.put(write("one", 1, "b", "B", "a", "1", "_"))
    await store.put(write("one", 2, "other", repository=OTHER))

    assert await store.tags(APP, None, 10) == ["1", "B", "_", "a", "b"]
    assert await store.tags(APP, None, 2) == ["1", "B"]
    assert await store.tags(APP, "B", 2) == ["_", "a"]
    assert await store.tags(APP, "C", 1) == ["_"]
    assert await store.tags(APP, "\udcff", 10) is not None
    assert await store.tags(APP, "b", 10) == []
    assert await store.tags(APP, None, 0) == []


async def test_a_repository_exists_once_it_has_a_manifest(store: IndexStore) -> None:
    assert await store.tags(APP, None, 10) is None
    await store.put(write("one", 1))

    assert await store.tags(APP, None, 10) == []


async def test_referrers_are_those_of_the_subject_in_the_repository(store: IndexStore) -> None:
    subject = record("subject").digest
    for number, (name, repository) in enumerate((("sbom", APP), ("signature", APP), ("signature", OTHER))):
        about = About(subject, f"type/{name}", {"made.by": name})
        await store.put(ManifestWrite(repository, record(name), (), version(number), about))
    await store.put(write("unrelated", 9))

    found = await store.referrers(APP, subject)

    expected = [Referrer(record(name), f"type/{name}", {"made.by": name}) for name in ("sbom", "signature")]
    assert sorted(found, key=lambda it: it.artifact_type) == expected
    assert [str(it.record.digest) for it in found] == sorted(str(it.record.digest) for it in found)
    assert await store.referrers(OTHER, record("unrelated").digest) == []


async def test_repositories_come_in_bytewise_order_each_once(store: IndexStore) -> None:
    for number, name in enumerate(("b/c", "a", "b", "b", "b/c")):
        await store.put(write(f"m{number}", number, repository=RepositoryName(name)))

    assert await store.repositories(None, 10) == ["a", "b", "b/c"]
    assert await store.repositories("a", 1) == ["b"]
    assert await store.repositories("b/a", 10) == ["b/c"]
    assert await store.repositories("z", 10) == []
    assert await store.repositories(None, 0) == []
