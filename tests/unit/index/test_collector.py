"""Garbage collection at an index node: what goes, when, and what never does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs
from tests.helpers.blobs import ManualClock

from kraken.core.digest import Digest
from kraken.core.errors import Unavailable
from kraken.index import collector as collecting
from kraken.index.collector import Alone, Collector
from kraken.index.records import NewManifest, Removal, Write
from kraken.index.retention import RetentionRule
from kraken.index.settings import CollectionSettings
from kraken.index.sqlite import SqliteIndexStore
from kraken.index.suspects import Need, Nodes, Suspect
from kraken.index.versions import HybridClock
from kraken.observability.events import Event
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.oci.manifests import OCI_MANIFEST, ManifestRecord
from kraken.oci.references import RepositoryName, Tag
from kraken.oci.referrers import About

APP, OTHER = RepositoryName("team/app"), RepositoryName("team/other")
GRACE, FORGET = 100.0, 10_000.0


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


class Node:
    """An index node's store and collector, and somebody who writes to it."""

    def __init__(self, data: Path, rules: tuple[RetentionRule, ...], *, untagged: bool) -> None:
        self.clock = ManualClock()
        self.store = SqliteIndexStore(data / "index.sqlite", self.clock)
        self.metrics = Metrics("index", "test")
        self._versions = HybridClock("00000000000000aa")
        self._settings = CollectionSettings(grace_seconds=GRACE, forget_seconds=FORGET, untagged_manifests=untagged)
        self._rules = rules
        self.collector = self.collector_of(Alone(self.store, self.clock))

    def collector_of(self, nodes: Nodes) -> Collector:
        """A collector of the store, which these nodes answer."""
        log = get_logger("index", "test")
        return Collector(self.store, nodes, self._settings, self._rules, self.clock, log, self.metrics)

    async def link(self, *names: str, repository: RepositoryName = APP) -> None:
        await self._write(repository, links={digest(name): len(name) for name in names})

    async def put(
        self,
        name: str,
        *tags: str,
        needs: Sequence[str] = (),
        about: str | None = None,
        children: Sequence[str] = (),
        repository: RepositoryName = APP,
    ) -> None:
        record, *kept = (ManifestRecord(digest(it), OCI_MANIFEST, len(it)) for it in (name, *children))
        told = None if about is None else About(digest(about))
        manifest = NewManifest(record, tuple(map(digest, needs)), told)
        await self._write(
            repository, manifest=manifest, tags=dict.fromkeys(map(Tag, tags), record.digest), children=tuple(kept)
        )

    async def remove(self, **removed: Sequence[str]) -> None:
        kinds = {"tags": Tag, "manifests": digest, "links": digest}
        made = {kind: tuple(map(kinds[kind], names)) for kind, names in removed.items()}
        await self._write(APP, removed=Removal(**made))  # type: ignore[arg-type] # as the table says

    async def left(self, *names: str, repository: RepositoryName = APP) -> set[str]:
        """Those of the blobs and manifests that the repository has."""
        digests = {digest(name): name for name in names}
        links = await self.store.links(repository, digests.keys())
        manifests = await self.store.manifests(repository, digests.keys())
        return {digests[it] for found in (links, manifests) for it, entry in found.items() if entry.value is not None}

    async def collected(self) -> list[tuple[str, str]]:
        """What a look promises, which is what a run then does."""
        promised = (await self.collector.look()).listed
        report = await self.collector.collect()
        assert report.removed
        assert set(promised) <= set(report.listed)
        names = {str(digest(name)): name for name in ["layer", "other", "image", "parent", "child", "sbom", "config"]}
        return sorted((it.kind, names.get(it.name, it.name)) for it in report.listed)

    async def _write(self, repository: RepositoryName, **change: object) -> None:
        version = self._versions.next(int(self.clock.wall().timestamp() * 1000))
        await self.store.put(Write(repository, version, **change))  # type: ignore[arg-type] # its own fields


@asynccontextmanager
async def a_node(data: Path, *rules: RetentionRule, untagged: bool = False) -> AsyncIterator[Node]:
    node = Node(data, rules, untagged=untagged)
    try:
        yield node
    finally:
        await node.store.close()


async def test_a_blob_that_no_manifest_needs_goes_after_its_time_of_grace(tmp_path: Path) -> None:
    async with a_node(tmp_path) as node:
        await node.link("layer")
        node.clock.move(GRACE - 1)
        assert await node.collected() == []
        assert await node.left("layer") == {"layer"}

        node.clock.move(2)
        assert await node.collected() == [("blob", "layer")]
        assert await node.left("layer") == set()
        assert await node.collected() == []
        assert node.metrics.value("kraken_collected_total", kind="blob") == 1


async def test_what_a_manifest_needs_stays_as_long_as_the_manifest_and_its_grace(tmp_path: Path) -> None:
    async with a_node(tmp_path) as node:
        await node.link("layer", "other")
        await node.put("image", "latest", needs=["layer"])
        node.clock.move(10 * GRACE)
        assert await node.collected() == [("blob", "other")]

        await node.remove(manifests=["image"])
        node.clock.move(GRACE - 1)
        assert await node.collected() == []

        node.clock.move(2)
        assert await node.collected() == [("blob", "layer")]


async def test_need_in_one_repository_keeps_nothing_in_another(tmp_path: Path) -> None:
    async with a_node(tmp_path) as node:
        for repository in (APP, OTHER):
            await node.link("layer", repository=repository)
        await node.put("image", "latest", needs=["layer"], repository=OTHER)
        node.clock.move(2 * GRACE)

        await node.collected()

        assert await node.left("layer") == set()
        assert await node.left("layer", repository=OTHER) == {"layer"}


async def test_a_blob_whose_link_is_renewed_has_its_grace_anew(tmp_path: Path) -> None:
    async with a_node(tmp_path) as node:
        await node.link("layer")
        node.clock.move(GRACE + 1)
        await node.link("layer")

        assert await node.collected() == []


async def test_untagged_manifests_stay_unless_they_are_told_to_go(tmp_path: Path) -> None:
    for untagged in (False, True):
        async with a_node(tmp_path / str(untagged), untagged=untagged) as node:
            await node.put("image", "latest", needs=[])
            await node.put("other", "latest")
            node.clock.move(2 * GRACE)

            assert await node.collected() == ([("manifest", "image")] if untagged else [])


async def test_a_manifest_whose_tag_went_to_another_has_its_grace_from_then_on(tmp_path: Path) -> None:
    async with a_node(tmp_path, untagged=True) as node:
        await node.put("image", "latest")
        node.clock.move(10 * GRACE)
        await node.put("other", "latest")
        assert await node.collected() == []  # somebody may have been told just now that "latest" means it
        node.clock.move(GRACE + 1)

        assert await node.collected() == [("manifest", "image")]


async def test_a_tag_that_was_removed_gives_its_old_manifest_no_more_grace_when_it_is_used_anew(tmp_path: Path) -> None:
    async with a_node(tmp_path, untagged=True) as node:
        await node.put("image", "latest")
        node.clock.move(10 * GRACE)
        await node.remove(tags=["latest"])
        node.clock.move(0.6 * GRACE)
        await node.put("other", "latest")
        assert await node.collected() == []
        node.clock.move(0.6 * GRACE)

        assert await node.collected() == [("manifest", "image")]


async def test_a_manifest_that_an_index_holds_or_that_is_about_one_that_stays_is_not_untagged(tmp_path: Path) -> None:
    async with a_node(tmp_path, untagged=True) as node:
        await node.put("child")
        await node.put("parent", "latest", needs=["child"])
        await node.put("sbom", about="parent")
        node.clock.move(2 * GRACE)
        assert await node.collected() == []

        await node.remove(tags=["latest"])
        assert await node.collected() == []  # a pull that began before may still be under way
        node.clock.move(2 * GRACE)
        assert await node.collected() == [("manifest", "parent")]
        assert await node.collected() == []
        node.clock.move(2 * GRACE)
        assert await node.collected() == [("manifest", "child"), ("manifest", "sbom")]


async def test_tags_go_by_rule_and_what_only_they_kept_has_its_grace_from_then_on(tmp_path: Path) -> None:
    rule = RetentionRule(tags="pr-.*", keep_last=1)
    async with a_node(tmp_path, rule, untagged=True) as node:
        await node.put("image", "pr-1", needs=["layer"])
        await node.link("layer")
        node.clock.move(10 * GRACE)
        await node.put("other", "pr-2")

        assert await node.collected() == [("tag", "pr-1")]
        node.clock.move(GRACE + 1)
        assert await node.collected() == [("manifest", "image")]
        node.clock.move(GRACE + 1)
        assert await node.collected() == [("blob", "layer")]
        assert await node.left("image", "layer", "other") == {"other"}


async def test_a_removal_is_forgotten_in_the_end(tmp_path: Path) -> None:
    async with a_node(tmp_path) as node:
        await node.link("layer")
        await node.put("image", "latest", needs=["layer"])
        await node.remove(manifests=["image"])
        node.clock.move(FORGET - 1)
        await node.collected()
        assert await node.store.resolve(APP, Tag("latest")) is not None

        node.clock.move(2)
        await node.collected()
        assert await node.store.resolve(APP, Tag("latest")) is None
        assert await node.store.manifests(APP, [digest("image")]) == {}
        assert await node.store.scan(lambda base: base.execute("SELECT count(*) FROM needs").fetchone()) == (0,)


class Interrupted(Alone):
    """Nodes at which somebody does something between their votes and the removal."""

    def __init__(self, node: Node, meanwhile: Callable[[], Awaitable[None]]) -> None:
        super().__init__(node.store, node.clock)
        self._meanwhile = meanwhile

    async def remove_suspects(self, suspects: Sequence[Suspect]) -> set[int]:
        await self._meanwhile()
        return await super().remove_suspects(suspects)


async def test_what_is_pushed_after_the_vote_stays_and_is_not_reported(tmp_path: Path) -> None:
    async with a_node(tmp_path, untagged=True) as node:
        await node.link("layer", "other")
        await node.put("child")
        node.clock.move(GRACE + 1)

        async def push() -> None:
            await node.link("layer")
            await node.put("parent", "latest", needs=["child"], children=["child"])

        report = await node.collector_of(Interrupted(node, push)).collect()

        assert [it.name for it in report.listed] == [str(digest("other"))]
        assert await node.left("layer", "other", "child") == {"layer", "child"}


class Objecting(Alone):
    """Nodes that need whatever is to go."""

    async def needs(self, suspects: Sequence[Suspect]) -> Sequence[Sequence[Need]]:
        return [[Need(it.kind, it.name, it.version)] for it in suspects]


async def test_what_somebody_needs_stays_however_much_of_it_there_is(tmp_path: Path) -> None:
    async with a_node(tmp_path, untagged=True) as node:
        await node.link("layer", "other")
        await node.put("image")
        node.clock.move(GRACE + 1)
        collector = node.collector_of(Objecting(node.store, node.clock))

        with patch.multiple(collecting, _FOUND_AT_ONCE=1):
            assert (await collector.look()).listed == []
            assert (await collector.collect()).listed == []
            assert await node.left("layer", "other", "image") == {"layer", "other", "image"}
            assert await node.collected() == [("blob", "layer"), ("blob", "other"), ("manifest", "image")]


class Unreachable(Alone):
    """Nodes of which too few answer."""

    async def needs(self, suspects: Sequence[Suspect]) -> Sequence[Sequence[Need]]:
        raise Unavailable(f"only 1 of 3 index nodes answered about {len(suspects)}")


async def test_too_few_answers_are_in_the_log_and_remove_nothing(tmp_path: Path) -> None:
    async with a_node(tmp_path) as node:
        await node.link("layer")
        node.clock.move(GRACE + 1)
        collector = node.collector_of(Unreachable(node.store, node.clock))

        with capture_logs() as logs, pytest.raises(Unavailable):
            await collector.collect()

        assert [(it["event"], it["error"]) for it in logs] == [
            (Event.COLLECTION_FAILED, "only 1 of 3 index nodes answered about 1")
        ]
        assert await node.left("layer") == {"layer"}


@pytest.mark.parametrize("late", [False, True])
async def test_a_push_that_happens_meanwhile_wins(tmp_path: Path, *, late: bool) -> None:
    """The removal comes after the push that made the blob needed again, or before it."""
    async with a_node(tmp_path) as node:
        await node.link("layer")
        node.clock.move(GRACE + 1)
        found = (await node.collector.look()).listed
        assert [it.kind for it in found] == ["blob"]
        if late:
            await node.collector.collect()
        await node.link("layer")
        await node.put("image", "latest", needs=["layer"])
        await node.collector.collect()

        assert await node.left("layer", "image") == {"layer", "image"}
