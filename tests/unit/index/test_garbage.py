"""What index nodes that have each missed something let go together is what a node that missed nothing calls garbage."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kraken.core.digest import Digest
from kraken.index import garbage, rows
from kraken.index.garbage import Garbage, Grace, Place
from kraken.index.records import NewManifest, Removal, Write
from kraken.index.suspects import MAX_NEEDS, Kind, Need, Suspect
from kraken.index.versions import Version
from kraken.oci.manifests import OCI_MANIFEST, ManifestRecord
from kraken.oci.references import RepositoryName, Tag
from kraken.oci.referrers import About

APP = RepositoryName("team/app")
GRACE = 100
NODES = range(3)
MAJORITIES = [chosen for count in (2, 3) for chosen in itertools.combinations(NODES, count)]
LAYERS, IMAGES, TAGS = ("layer", "other"), ("one", "two"), ("x", "y")
"""Few enough of them that sequences meet."""

ONE = (Kind.MANIFEST, str(Digest.of(b"one")))


def version(seconds: int) -> Version:
    return Version(seconds * 1000, 0, "00000000000000aa")


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


def record(name: str) -> ManifestRecord:
    return ManifestRecord(digest(name), OCI_MANIFEST, len(name))


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody writes, and to which nodes it gets. What a manifest names is always the same, as its digest is."""

    kind: str
    name: str
    other: str
    reached: tuple[int, ...]

    def at(self, seconds: int) -> Write:
        removed = Removal()
        match self.kind:
            case "link":
                return Write(APP, version(seconds), links={digest(self.name): 1})
            case "image":
                new = NewManifest(record(self.name), tuple(map(digest, LAYERS)))
                return Write(APP, version(seconds), new, {Tag(self.other): digest(self.name)})
            case "untagged":
                return Write(APP, version(seconds), NewManifest(record(self.name), tuple(map(digest, LAYERS))))
            case "index":
                return Write(APP, version(seconds), NewManifest(record(f"index of {self.name}"), (digest(self.name),)))
            case "sbom":
                new = NewManifest(record(f"sbom of {self.name}"), about=About(digest(self.name)))
                return Write(APP, version(seconds), new)
            case "no tag":
                removed = Removal(tags=(Tag(self.other),))
            case "no manifest":
                removed = Removal(manifests=(digest(self.name),))
        return Write(APP, version(seconds), removed=removed)


@dataclass(frozen=True, slots=True)
class Collection:
    """A node collects garbage. Args: asked, who answers it; reached, to whom the removals get."""

    collector: int
    asked: tuple[int, ...]
    reached: tuple[int, ...]


majorities = st.sampled_from(MAJORITIES)
changes = st.one_of(
    st.builds(Change, st.just("link"), st.sampled_from(LAYERS), st.just(""), majorities),
    st.builds(
        Change,
        st.sampled_from(("image", "untagged", "index", "sbom", "no tag", "no manifest")),
        st.sampled_from(IMAGES),
        st.sampled_from(TAGS),
        majorities,
    ),
    st.builds(
        Change, st.just("no manifest"), st.sampled_from(("index of one", "sbom of one")), st.just(""), majorities
    ),
)
collections = st.builds(Collection, st.sampled_from(NODES), majorities, majorities)


class Tables:
    """The tables of three nodes, and of one that hears of everything."""

    def __init__(self) -> None:
        self.nodes = [sqlite3.connect(":memory:") for _ in NODES]
        self.witness = sqlite3.connect(":memory:")
        for base in (*self.nodes, self.witness):
            base.executescript(rows.SCHEMA)
        self.now = GRACE

    def write(self, change: Change) -> None:
        for base in (*(self.nodes[number] for number in change.reached), self.witness):
            rows.apply(base, change.at(self.now), self.now)

    def collect(self, it: Collection) -> list[tuple[Kind, str]]:
        """What was let go; nothing of it is needed."""
        gone: list[tuple[Kind, str]] = []
        for look in (garbage.untagged_manifests, garbage.unneeded_links):
            found = look(self.nodes[it.collector], grace=self.grace, after=Place(), limit=100)
            let_go = self._let_go(it, [each.suspect for each in found])
            assert garbage.needs(self.witness, let_go, grace=self.grace, untagged=True) == [[]] * len(let_go)
            for base in (*(self.nodes[number] for number in it.reached), self.witness):
                garbage.remove(base, let_go, self.now)
            gone += [(each.kind, each.name) for each in let_go]
        return gone

    def garbage(self) -> list[tuple[Kind, str]]:
        """What is garbage to who knows everything."""
        looks = (garbage.untagged_manifests, garbage.unneeded_links)
        found: list[Garbage] = []
        for look in looks:
            found += look(self.witness, grace=self.grace, after=Place(), limit=100)
        return [(each.suspect.kind, each.suspect.name) for each in found]

    @property
    def grace(self) -> Grace:
        return Grace(self.now - GRACE)

    def _let_go(self, it: Collection, suspects: Sequence[Suspect]) -> list[Suspect]:
        told = [garbage.needs(self.nodes[number], suspects, grace=self.grace, untagged=True) for number in it.asked]
        doubted = [
            (suspect, [need for one in needs for need in one])
            for suspect, needs in zip(suspects, zip(*told, strict=True), strict=True)
        ]
        over = garbage.outdated(self.nodes[it.collector], doubted, grace=self.grace)
        return [suspect for (suspect, needs), is_over in zip(doubted, over, strict=True) if is_over or not needs]


@contextmanager
def tables() -> Iterator[Tables]:
    built = Tables()
    try:
        yield built
    finally:
        for base in (*built.nodes, built.witness):
            with closing(base):
                pass


def let_go(*story: Change, asked: tuple[int, ...] = (0, 2)) -> list[tuple[Kind, str]]:
    """What node 0 may remove long after all that, when these are asked."""
    with tables() as built:
        for change in story:
            built.now += 1
            built.write(change)
        built.now += 2 * GRACE
        return built.collect(Collection(0, asked, asked))


def test_a_child_stays_although_one_node_missed_its_index_and_the_other_the_child() -> None:
    assert let_go(Change("untagged", "one", "", (0, 1)), Change("index", "one", "", (1, 2))) == []
    assert let_go(Change("untagged", "one", "", (0, 1))) == [ONE]


def test_a_referrer_stays_although_one_node_missed_its_subject_and_the_other_the_referrer() -> None:
    sbom = Change("sbom", "one", "", (0, 1))
    assert let_go(sbom, Change("image", "one", "x", (1, 2))) == []
    assert let_go(sbom) == [(Kind.MANIFEST, str(digest("sbom of one")))]


def test_a_tag_that_went_with_its_manifest_needs_it_no_more_when_that_comes_back() -> None:
    deleted, again = Change("no manifest", "one", "", (0, 1)), Change("untagged", "one", "", (0, 1))
    assert let_go(Change("image", "one", "x", (0, 1, 2)), deleted, again) == [ONE]


def test_a_tag_that_went_to_another_manifest_needs_its_old_one_for_the_time_of_grace() -> None:
    with tables() as built:
        built.write(Change("untagged", "one", "", (0, 1, 2)))
        built.write(Change("image", "one", "x", (1, 2)))
        built.now += 2 * GRACE
        built.write(Change("image", "two", "x", (0, 1)))
        built.now += GRACE - 1
        assert built.collect(Collection(0, (0, 2), (0, 1, 2))) == []

        built.now += 2
        assert built.collect(Collection(0, (0, 2), (0, 1, 2))) == [ONE]


def test_what_is_needed_here_by_now_is_not_let_go_for_others_being_outdated() -> None:
    suspect = Suspect(Kind.MANIFEST, APP, str(digest("one")), version(GRACE))
    with tables() as built:
        built.write(Change("image", "one", "x", (0, 1, 2)))
        built.now += 1
        built.write(Change("no tag", "", "x", (0, 1)))
        built.now += 2 * GRACE
        (needs,) = garbage.needs(built.nodes[2], [suspect], grace=built.grace, untagged=True)
        doubted = [(suspect, needs)]
        assert garbage.outdated(built.nodes[0], doubted, grace=built.grace) == [True]

        rows.apply(built.nodes[0], Write(APP, version(built.now), tags={Tag("y"): digest("one")}), built.now)
        assert garbage.outdated(built.nodes[0], doubted, grace=built.grace) == [False]


def test_who_is_told_very_many_needs_believes_them() -> None:
    suspect = Suspect(Kind.LINK, APP, str(digest("layer")), version(GRACE))
    with tables() as built:
        for count in (MAX_NEEDS - 1, MAX_NEEDS + 1):
            for name in map(str, range(count)):
                change = Write(APP, version(built.now), NewManifest(record(name), (digest("layer"),)))
                rows.apply(built.nodes[2], change, built.now)
                rows.apply(built.nodes[0], Write(APP, version(built.now + 1), removed=Removal((), (digest(name),))), 0)
            built.now += 2 * GRACE
            told = garbage.needs(built.nodes[2], [suspect], grace=built.grace, untagged=True)
            assert [len(it) for it in told] == [min(count, MAX_NEEDS)]
            over = garbage.outdated(built.nodes[0], [(suspect, told[0])], grace=built.grace)
            assert over == [count < MAX_NEEDS]


def test_a_node_that_keeps_untagged_manifests_keeps_them_for_all() -> None:
    suspect = Suspect(Kind.MANIFEST, APP, str(digest("one")), version(1))
    with tables() as built:
        assert garbage.needs(built.nodes[0], [suspect], grace=built.grace, untagged=False) == [
            [Need(Kind.MANIFEST, suspect.name, suspect.version)]
        ]


@pytest.mark.parametrize("kind", [Kind.LINK, Kind.MANIFEST])
def test_what_was_renewed_at_another_node_is_young_there(kind: Kind) -> None:
    renewed = Change("link", "layer", "", (1, 2)) if kind is Kind.LINK else Change("untagged", "one", "", (1, 2))
    with tables() as built:
        built.write(Change(renewed.kind, renewed.name, "", (0, 1, 2)))
        built.now += 2 * GRACE
        built.write(renewed)
        assert built.collect(Collection(0, (0, 2), (0, 2))) == []


def test_a_look_goes_on_where_the_last_one_ended() -> None:
    with tables() as built:
        names = sorted(str(digest(str(number))) for number in range(5))
        for number in range(5):
            rows.apply(built.nodes[0], Write(APP, version(1), links={digest(str(number)): 1}), built.now)
        built.now += 2 * GRACE
        found: list[str] = []
        after = Place()
        while page := garbage.unneeded_links(built.nodes[0], grace=built.grace, after=after, limit=2):
            found += [it.suspect.name for it in page]
            after = Place(str(APP), found[-1])
        assert found == names


@given(
    st.lists(st.tuples(st.sampled_from((1, GRACE // 2, 2 * GRACE)), changes | collections), max_size=14), collections
)
@settings(max_examples=200)
def test_whoever_missed_what_nothing_goes_that_is_needed(
    story: list[tuple[int, Change | Collection]], last: Collection
) -> None:
    with tables() as built:
        for seconds, it in [*story, (2 * GRACE, last)]:
            built.now += seconds
            if isinstance(it, Change):
                built.write(it)
            else:
                built.collect(it)


@given(st.lists(changes, max_size=12), majorities)
@settings(max_examples=200)
def test_a_node_that_missed_nothing_finds_a_majority_to_let_all_garbage_go(
    story: list[Change], asked: tuple[int, ...]
) -> None:
    with tables() as built:
        for change in story:
            built.now += 1
            built.write(Change(change.kind, change.name, change.other, tuple({0, *change.reached})))
        built.now += 2 * GRACE
        expected = built.garbage()

        assert built.collect(Collection(0, asked, (0, 1))) == expected
