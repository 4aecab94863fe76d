"""Three index nodes over HTTP, of which each has missed something, agree on what is garbage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from tests.helpers.components import QUICK_PROBES, Running, an_index, index_client, reachable
from tests.helpers.ports import free_address

from kraken.cluster.garbage_report import GarbageReport
from kraken.core.digest import Digest
from kraken.core.errors import NotFound, Unavailable
from kraken.index.app import Index
from kraken.index.client import IndexClient
from kraken.index.messages import LinksAnswer, ManifestsAnswer, WriteAnswer, write_to_wire
from kraken.index.records import NewManifest, Removal, Write
from kraken.index.retention import RetentionRule
from kraken.index.settings import CollectionSettings
from kraken.index.versions import HybridClock
from kraken.oci.manifests import OCI_MANIFEST, ManifestRecord
from kraken.oci.references import RepositoryName, Tag
from kraken.runtime.clock import SystemClock
from kraken.runtime.web_client import HttpClient

APP = RepositoryName("team/app")
GRACE = 600.0
"""Seconds. Far longer than any test takes, so that only moving the clock makes anything old."""

COLLECTION = CollectionSettings(every_seconds=1e9, grace_seconds=GRACE, untagged_manifests=True)
ALL = (0, 1, 2)


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


def record(name: str) -> ManifestRecord:
    return ManifestRecord(digest(name), OCI_MANIFEST, len(name))


class Nodes:
    """Three index nodes, and somebody whose writes get to some of them."""

    def __init__(self, data: Path, rules: tuple[RetentionRule, ...], http: HttpClient) -> None:
        self.addresses = [free_address() for _ in ALL]
        self.running = Running()
        self._data, self._rules, self._http = data, rules, http
        self._indexes: dict[int, Index] = {}
        self._versions = HybridClock("00000000000000aa")
        self.moved = 0.0

    async def start(self, *numbers: int) -> None:
        cluster = replace(QUICK_PROBES, indexes=tuple(self.addresses))
        for number in numbers:
            data, address = self._data / str(number), self.addresses[number]
            self._indexes[number] = an_index(data, address, COLLECTION, cluster, self._rules)
            await self.running.start(self._indexes[number])

    async def stop(self, *numbers: int) -> None:
        for number in numbers:
            await self.running.stop(self._indexes.pop(number))

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.moved)

    async def put(self, name: str, *tags: str, needs: Sequence[str] = (), to: Sequence[int] = ALL) -> None:
        new = NewManifest(record(name), tuple(map(digest, needs)))
        await self._write(to, manifest=new, tags=dict.fromkeys(map(Tag, tags), digest(name)))

    async def link(self, name: str, to: Sequence[int] = ALL) -> None:
        await self._write(to, links={digest(name): len(name)})

    async def remove_tag(self, name: str, to: Sequence[int] = ALL) -> None:
        await self._write(to, removed=Removal(tags=(Tag(name),)))

    async def collect(self, number: int, method: str = "POST") -> list[str]:
        """What a node says that it removed, or would remove."""
        report = await self._http.json(method, self.addresses[number], "/garbage", into=GarbageReport)
        names = {str(digest(name)): name for name in ("layer", "other", "image", "child", "parent")}
        return [names.get(it.name, it.name) for it in report.listed]

    async def having(self, name: str) -> list[int]:
        """The nodes that have a blob or manifest, when all that was written has arrived."""
        for index in self._indexes.values():
            await asyncio.gather(*index._names._quorum._lingering)
        return [number for number in ALL if await self.has(number, name)]

    async def has(self, number: int, name: str) -> bool:
        """Whether a node has a blob or manifest."""
        body, address = {"repository": str(APP), "digests": [str(digest(name))]}, self.addresses[number]
        links = (await self._http.json("POST", address, "/links/known", body=body, into=LinksAnswer)).links
        known = await self._http.json("POST", address, "/manifests/known", body=body, into=ManifestsAnswer)
        return any(it.size is not None for it in links.values()) or any(
            it.record is not None for it in known.manifests.values()
        )

    async def _write(self, to: Sequence[int], **change: object) -> None:
        version = self._versions.next(int(self.now().timestamp() * 1000))
        body = write_to_wire(Write(APP, version, **change))  # type: ignore[arg-type] # its own fields
        for number in to:
            await self._http.json("POST", self.addresses[number], "/writes", body=body, into=WriteAnswer)


@asynccontextmanager
async def three_nodes(data: Path, *rules: RetentionRule) -> AsyncIterator[tuple[Nodes, IndexClient]]:
    """The nodes, running, and a client of them, under a clock that the test moves."""
    async with reachable("index", []) as (http, _):
        nodes = Nodes(data, rules, http)
        with patch.object(SystemClock, "wall", lambda _clock: nodes.now()):
            try:
                await nodes.start(*ALL)
                async with index_client(nodes.addresses, "00000000000000bb") as client:
                    yield nodes, client
            finally:
                await nodes.running.stop_all()


async def test_what_one_node_collects_is_gone_at_all_of_them(tmp_path: Path) -> None:
    async with three_nodes(tmp_path) as (nodes, client):
        await nodes.link("layer")
        await nodes.put("image", "latest", needs=["other"])
        nodes.moved += 2 * GRACE

        assert await nodes.collect(2, "GET") == ["layer"]
        assert await nodes.having("layer") == [0, 1, 2]
        assert await nodes.collect(2) == ["layer"]
        assert await nodes.having("layer") == []
        assert await nodes.having("image") == [0, 1, 2]
        assert await client.links(APP, [digest("layer")]) == {}


async def test_a_node_that_missed_an_index_does_not_take_its_old_child(tmp_path: Path) -> None:
    async with three_nodes(tmp_path) as (nodes, client):
        await nodes.put("child")
        await nodes.put("parent", "latest", needs=["child"], to=(1, 2))
        nodes.moved += 2 * GRACE

        assert await nodes.collect(0, "GET") == []
        assert await nodes.collect(0) == []
        assert await nodes.having("child") == [0, 1, 2]
        assert await client.resolve(APP, digest("child")) == record("child")


async def test_a_child_stays_although_those_who_answer_missed_it_or_its_index(tmp_path: Path) -> None:
    async with three_nodes(tmp_path) as (nodes, _):
        await nodes.put("child", to=(0, 1))
        await nodes.put("parent", "latest", needs=["child"], to=(1, 2))
        nodes.moved += 2 * GRACE
        await nodes.stop(1)

        assert await nodes.collect(0) == []


async def test_the_last_tags_are_counted_by_what_a_majority_knows(tmp_path: Path) -> None:
    """Two nodes that have each missed another delete would both say that there is a newer tag."""
    async with three_nodes(tmp_path, RetentionRule(tags="pr-.*", keep_last=1)) as (nodes, client):
        for tag in ("pr-1", "pr-2", "pr-3"):
            await nodes.put("image", tag)
        await nodes.remove_tag("pr-2", to=(1, 2))
        await nodes.remove_tag("pr-3", to=(0, 1))
        await nodes.stop(1)

        for number in (0, 2):
            assert await nodes.collect(number) == []
        await nodes.start(1)
        assert await client.resolve(APP, Tag("pr-1")) == record("image")

        await nodes.put("image", "pr-4")
        assert await nodes.collect(0) == ["pr-1"]
        with pytest.raises(NotFound):
            await client.resolve(APP, Tag("pr-1"))


async def test_too_few_answers_remove_nothing_and_say_who_is_away(tmp_path: Path) -> None:
    async with three_nodes(tmp_path) as (nodes, _):
        await nodes.link("layer")
        nodes.moved += 2 * GRACE
        await nodes.stop(1, 2)

        for method in ("GET", "POST"):
            with pytest.raises(Unavailable) as caught:
                await nodes.collect(0, method)
            assert "only 1 of 3 index nodes answered" in str(caught.value)
            assert all(str(nodes.addresses[number]) in str(caught.value) for number in (1, 2))
        await nodes.start(1)
        assert await nodes.has(0, "layer")
        assert await nodes.collect(0) == ["layer"]


async def test_a_node_that_missed_a_delete_does_not_keep_its_garbage_for_all(tmp_path: Path) -> None:
    async with three_nodes(tmp_path) as (nodes, _):
        await nodes.put("image", "latest")
        nodes.moved += 2 * GRACE
        await nodes.remove_tag("latest", to=(0, 1))
        await nodes.stop(1)
        nodes.moved += 0.9 * GRACE
        assert await nodes.collect(0) == []

        nodes.moved += 0.2 * GRACE
        assert await nodes.collect(2) == []  # it needs it, by what it knows
        assert await nodes.collect(0) == ["image"]
        await nodes.start(1)
        assert await nodes.having("image") == [1]


async def test_a_tag_that_was_set_again_keeps_what_it_means(tmp_path: Path) -> None:
    async with three_nodes(tmp_path) as (nodes, _):
        await nodes.put("image", "latest")
        await nodes.remove_tag("latest")
        await nodes.put("image", "latest", to=(1, 2))
        nodes.moved += 2 * GRACE

        assert await nodes.collect(0) == []


async def test_nodes_that_collect_at_once_do_each_other_no_harm(tmp_path: Path) -> None:
    async with three_nodes(tmp_path) as (nodes, client):
        names = [f"layer {number}" for number in range(20)]
        for name in names:
            await nodes.link(name)
        await nodes.link("layer")
        await nodes.put("image", "latest", needs=["layer"])
        nodes.moved += 2 * GRACE

        told = await asyncio.gather(*(nodes.collect(number) for number in ALL))

        assert {name for names_of_one in told for name in names_of_one} == {str(digest(name)) for name in names}
        assert await nodes.having("layer") == [0, 1, 2]
        await client.link(APP, {digest(names[0]): 7})
        assert (await client.links(APP, list(map(digest, names)))).keys() == {digest(names[0])}
