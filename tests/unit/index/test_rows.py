"""The rows of an index node: the newest change wins, in whatever order changes come."""

from __future__ import annotations

import itertools
import random
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kraken.core.digest import Digest
from kraken.index import rows
from kraken.index.records import Entry, NewManifest, Removal, Write
from kraken.index.sqlite import SqliteIndexStore
from kraken.index.versions import Version
from kraken.oci.manifests import OCI_MANIFEST, ManifestRecord
from kraken.oci.references import RepositoryName, Tag
from kraken.oci.referrers import About, Referrer
from kraken.runtime.clock import SystemClock

APP, OTHER = RepositoryName("team/app"), RepositoryName("team")
LATEST = Tag("latest")


def version(number: int) -> Version:
    return Version(number, 0, "00000000000000aa")


def record(name: str, media_type: str = OCI_MANIFEST) -> ManifestRecord:
    return ManifestRecord(Digest.of(name.encode()), media_type, len(name))


def digest(name: str) -> Digest:
    return record(name).digest


def write(name: str, number: int, *tags: str, repository: RepositoryName = APP) -> Write:
    meant = dict.fromkeys(map(Tag, tags), digest(name))
    return Write(repository, version(number), NewManifest(record(name)), meant)


def link(name: str, number: int, repository: RepositoryName = APP) -> Write:
    return Write(repository, version(number), links={digest(name): len(name)})


def parent(*children: str, number: int) -> Write:
    """An index of manifests that the repository has."""
    new = NewManifest(record("parent"), tuple(map(digest, children)))
    return Write(APP, version(number), new, children=tuple(map(record, children)))


def sbom(number: int) -> Write:
    """The manifest `two`, about a subject."""
    return Write(APP, version(number), NewManifest(record("two"), about=About(digest("subject"), "type/sbom")))


def remove(number: int, *, tags: Sequence[str] = (), manifests: Sequence[str] = (), links: Sequence[str] = ()) -> Write:
    removed = Removal(tuple(map(Tag, tags)), tuple(map(digest, manifests)), tuple(map(digest, links)))
    return Write(APP, version(number), removed=removed)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteIndexStore]:
    built = SqliteIndexStore(tmp_path / "index.sqlite", SystemClock())
    yield built
    await built.close()


async def tag_names(store: SqliteIndexStore, last: str | None = None, limit: int = 10) -> list[str] | None:
    """The tags that exist."""
    found = await store.tags(APP, last, limit)
    return None if found is None else [tag for tag, entry in found.rows if entry.value]


async def test_a_manifest_is_found_by_its_tags_and_its_digest_in_its_repository(store: SqliteIndexStore) -> None:
    assert await store.put(write("one", 1, "latest", "v1")) == version(1)

    for reference in (LATEST, Tag("v1"), digest("one")):
        assert await store.resolve(APP, reference) == Entry(record("one"), version(1))
        assert await store.resolve(OTHER, reference) is None
    assert await store.resolve(APP, Tag("v2")) is None
    assert await store.resolve(APP, digest("two")) is None


async def test_a_tag_moves_and_the_manifest_it_left_stays(store: SqliteIndexStore) -> None:
    await store.put(write("one", 1, "latest"))
    await store.put(write("two", 2, "latest"))

    assert await store.resolve(APP, LATEST) == Entry(record("two"), version(2))
    assert await store.resolve(APP, digest("one")) == Entry(record("one"), version(1))


async def test_an_older_write_changes_nothing_and_is_told_what_stands(store: SqliteIndexStore) -> None:
    await store.put(write("two", 2, "latest"))

    assert await store.put(write("one", 1, "latest", "v1")) == version(2)
    assert await store.resolve(APP, LATEST) == Entry(record("two"), version(2))
    assert await store.resolve(APP, Tag("v1")) == Entry(record("one"), version(1))


async def test_the_same_write_may_come_twice(store: SqliteIndexStore) -> None:
    for _ in range(2):
        assert await store.put(write("one", 1, "latest")) == version(1)


async def test_a_removed_tag_is_gone_and_its_manifest_stays(store: SqliteIndexStore) -> None:
    await store.put(write("one", 1, "latest", "v1"))

    assert await store.put(remove(2, tags=["latest"])) == version(2)
    assert await store.resolve(APP, LATEST) == Entry(None, version(2))
    assert await store.resolve(APP, digest("one")) == Entry(record("one"), version(1))
    assert await tag_names(store) == ["v1"]


async def test_a_removed_manifest_takes_its_tags_along_and_no_others(store: SqliteIndexStore) -> None:
    await store.put(write("one", 1, "latest", "v1"))
    await store.put(write("two", 2, "latest"))
    await store.put(remove(3, manifests=["one"]))

    assert await store.resolve(APP, Tag("v1")) == Entry(None, version(3))
    assert await store.resolve(APP, digest("one")) == Entry(None, version(3))
    assert await store.resolve(APP, LATEST) == Entry(record("two"), version(2))
    assert await store.tags_of(APP, digest("one")) == [("v1", Entry(None, version(3)))]


async def test_a_manifest_that_comes_back_does_not_bring_its_old_tags(store: SqliteIndexStore) -> None:
    await store.put(write("one", 1, "old"))
    await store.put(remove(2, manifests=["one"]))
    await store.put(write("one", 3, "new"))

    assert await tag_names(store) == ["new"]
    assert await store.resolve(APP, Tag("old")) == Entry(None, version(2))


async def test_what_is_collected_gives_way_to_whoever_writes_it_meanwhile(store: SqliteIndexStore) -> None:
    await store.put(link("layer", 5))
    collected = Write(APP, version(5).collected, removed=Removal(links=(digest("layer"),)))
    await store.put(collected)
    assert (await store.links(APP, [digest("layer")]))[digest("layer")].value is None

    await store.put(link("layer", 6))
    await store.put(collected)

    assert await store.links(APP, [digest("layer")]) == {digest("layer"): Entry(5, version(6))}


@pytest.mark.parametrize("late", [False, True])
async def test_a_child_that_is_collected_meanwhile_stays_with_its_index(store: SqliteIndexStore, *, late: bool) -> None:
    collected = Write(APP, version(5).collected, removed=Removal(manifests=(digest("child"),)))
    await store.put(write("child", 5))
    await store.put(collected)
    assert (await store.manifests(APP, [digest("child")]))[digest("child")].value is None

    await store.put(parent("child", number=6))
    if late:
        await store.put(collected)

    assert await store.manifests(APP, [digest("child")]) == {digest("child"): Entry(record("child"), version(6))}


async def test_a_node_that_missed_a_child_has_it_with_its_index(store: SqliteIndexStore) -> None:
    await store.put(parent("child", number=6))

    assert await store.resolve(APP, digest("child")) == Entry(record("child"), version(6))


async def test_of_an_index_and_the_delete_of_its_child_the_later_one_stands(store: SqliteIndexStore) -> None:
    await store.put(write("child", 1))
    await store.put(remove(3, manifests=["child"]))

    assert await store.put(parent("child", number=2)) == version(3)  # so its writer repeats it with a later version
    assert await store.resolve(APP, digest("child")) == Entry(None, version(3))
    assert await store.put(parent("child", number=4)) == version(4)
    assert await store.resolve(APP, digest("child")) == Entry(record("child"), version(4))


async def test_what_a_child_is_about_is_known_although_its_index_came_first(store: SqliteIndexStore) -> None:
    await store.put(parent("two", number=2))
    await store.put(sbom(1))

    referrer = Referrer(record("two"), "type/sbom", {})
    assert await store.referrers(APP, digest("subject")) == [(digest("two"), Entry(referrer, version(2)))]


async def test_manifests_and_links_are_those_of_the_repository(store: SqliteIndexStore) -> None:
    await store.put(write("one", 1))
    await store.put(write("two", 2, repository=OTHER))
    await store.put(link("layer", 3))
    digests = [digest(name) for name in ("one", "two", "layer", "three")]

    assert await store.manifests(APP, digests) == {digest("one"): Entry(record("one"), version(1))}
    assert await store.links(APP, digests) == {digest("layer"): Entry(5, version(3))}
    assert await store.links(OTHER, digests) == {}
    assert await store.used(digests) == {digest("one"), digest("two"), digest("layer")}


async def test_nothing_is_used_any_more_once_no_repository_has_it(store: SqliteIndexStore) -> None:
    await store.put(link("layer", 1))
    await store.put(link("layer", 2, OTHER))
    await store.put(write("one", 3))
    await store.put(remove(4, links=["layer"], manifests=["one"]))
    assert await store.used([digest("layer"), digest("one")]) == {digest("layer")}

    await store.put(Write(OTHER, version(5), removed=Removal(links=(digest("layer"),))))
    assert await store.used([digest("layer"), digest("one")]) == set()


async def test_tags_come_in_bytewise_order_after_the_last_one(store: SqliteIndexStore) -> None:
    await store.put(write("one", 1, "b", "B", "a", "1", "_"))
    await store.put(write("one", 2, "other", repository=OTHER))

    assert await tag_names(store) == ["1", "B", "_", "a", "b"]
    assert await tag_names(store, limit=2) == ["1", "B"]
    assert await tag_names(store, "B", 2) == ["_", "a"]
    assert await tag_names(store, "C", 1) == ["_"]
    assert await tag_names(store, "\udcff") is not None
    assert await tag_names(store, "b") == []
    assert await tag_names(store, limit=0) == []


async def test_removed_tags_are_told_between_the_others_and_do_not_count(store: SqliteIndexStore) -> None:
    await store.put(write("one", 1, "a", "b", "c", "d"))
    await store.put(remove(2, tags=["b"]))

    found = await store.tags(APP, None, 2)

    assert found is not None
    assert [(tag, entry.value) for tag, entry in found.rows] == [("a", True), ("b", None), ("c", True)]
    assert found.more


async def test_a_repository_exists_while_it_has_a_manifest(store: SqliteIndexStore) -> None:
    assert await store.tags(APP, None, 10) is None
    await store.put(write("one", 1))
    assert await tag_names(store) == []
    assert await store.repositories(None, 10) == [str(APP)]

    await store.put(remove(2, manifests=["one"]))
    found = await store.tags(APP, None, 10)
    assert found is not None
    assert not found.exists
    assert await store.repositories(None, 10) == []


async def test_referrers_are_those_of_the_subject_in_the_repository(store: SqliteIndexStore) -> None:
    subject = digest("subject")
    for number, (name, repository) in enumerate((("sbom", APP), ("signature", APP), ("signature", OTHER)), 1):
        about = About(subject, f"type/{name}", {"made.by": name})
        await store.put(Write(repository, version(number), NewManifest(record(name), about=about)))
    await store.put(write("unrelated", 9))

    found = await store.referrers(APP, subject)

    expected = {
        digest(name): Entry(Referrer(record(name), f"type/{name}", {"made.by": name}), version(number))
        for number, name in enumerate(("sbom", "signature"), 1)
    }
    assert dict(found) == expected
    assert [str(it) for it, _entry in found] == sorted(map(str, expected))
    assert await store.referrers(OTHER, digest("unrelated")) == []

    await store.put(remove(10, manifests=["sbom"]))
    assert dict(await store.referrers(APP, subject))[digest("sbom")] == Entry(None, version(10))


async def test_repositories_come_in_bytewise_order_each_once(store: SqliteIndexStore) -> None:
    for number, name in enumerate(("b/c", "a", "b", "b", "b/c"), 1):
        await store.put(write(f"m{number}", number, repository=RepositoryName(name)))

    assert await store.repositories(None, 10) == ["a", "b", "b/c"]
    assert await store.repositories("a", 1) == ["b"]
    assert await store.repositories("b/a", 10) == ["b/c"]
    assert await store.repositories("z", 10) == []
    assert await store.repositories(None, 0) == []


NAMES, TAGS = ("one", "two"), ("x", "y")


@st.composite
def changes(draw: st.DrawFn) -> list[Write]:
    """Changes of one repository, each of its own version."""
    made: list[Write] = []
    for number in range(1, draw(st.integers(1, 7)) + 1):
        name, tag = draw(st.sampled_from(NAMES)), draw(st.sampled_from(TAGS))
        made.append(
            draw(
                st.sampled_from(
                    [
                        write(name, number, tag),
                        write(name, number),
                        link(name, number),
                        parent(name, number=number),
                        parent(*NAMES, number=number),
                        sbom(number),
                        remove(number, tags=[tag]),
                        remove(number, manifests=[name]),
                        remove(number, links=[name]),
                    ]
                )
            )
        )
    return made


class Known(NamedTuple):
    """All that a node knows."""

    resolved: list[Entry[ManifestRecord] | None]
    manifests: dict[Digest, Entry[ManifestRecord]]
    links: dict[Digest, Entry[int]]
    used: set[Digest]
    tags: list[tuple[str, Entry[bool]]]
    exists: bool
    repositories: list[str]
    referrers: list[tuple[Digest, Entry[Referrer]]]


def known(made: Sequence[Write]) -> Known:
    """What a node knows after these changes, in this order."""
    base = sqlite3.connect(":memory:")
    base.executescript(rows.SCHEMA)
    try:
        for change in made:
            rows.apply(base, change, now=0)
        digests = list(map(digest, NAMES))
        found = rows.tags(base, APP, None, 10)
        return Known(
            [rows.resolve(base, APP, Tag(tag)) for tag in TAGS],
            rows.manifests(base, APP, digests),
            rows.links(base, APP, digests),
            rows.used(base, digests),
            list(found.rows) if found else [],
            found is not None and found.exists,
            rows.repositories(base, None, 10),
            rows.referrers(base, APP, digest("subject")),
        )
    finally:
        base.close()


@given(changes(), st.randoms(use_true_random=False))
@settings(max_examples=150)
def test_any_order_of_changes_ends_in_the_same_rows(made: list[Write], chance: random.Random) -> None:
    shuffled = list(made)
    chance.shuffle(shuffled)

    assert known(shuffled) == known(made)
    assert known([*made, *shuffled]) == known(made)


@given(changes())
@settings(max_examples=150)
def test_changes_in_order_do_what_they_say(made: list[Write]) -> None:
    tags: dict[str, str] = {}
    manifests: set[str] = set()
    links: set[str] = set()
    names = {digest(name): name for name in (*NAMES, "parent")}
    for change in made:
        if (new := change.manifest) is not None:
            manifests |= {names[it] for it in (new.record.digest, *(child.digest for child in change.children))}
            tags |= {str(tag): names[meant] for tag, meant in change.tags.items()}
        links |= {names[it] for it in change.links}
        for tag in change.removed.tags:
            tags.pop(str(tag), None)
        for gone in change.removed.manifests:
            manifests.discard(names[gone])
            tags = {tag: name for tag, name in tags.items() if name != names[gone]}
        links -= {names[it] for it in change.removed.links}

    found = known(made)
    assert [entry.value if entry else None for entry in found.resolved] == [
        record(tags[tag]) if tag in tags else None for tag in TAGS
    ]
    assert {names[it] for it, entry in found.manifests.items() if entry.value} == manifests - {"parent"}
    assert {names[it] for it, entry in found.links.items() if entry.value} == links


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_the_order_of_writes_does_not_matter_on_disk_either(
    store: SqliteIndexStore, order: tuple[int, ...]
) -> None:
    writes = [write("a", 1, "x", "y"), write("b", 2, "x"), write("a", 3, "y", "z")]
    for number in order:
        await store.put(writes[number])

    assert await store.resolve(APP, Tag("x")) == Entry(record("b"), version(2))
    assert await store.resolve(APP, Tag("y")) == Entry(record("a"), version(3))
    assert await store.resolve(APP, Tag("z")) == Entry(record("a"), version(3))
