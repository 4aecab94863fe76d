"""Index nodes over HTTP, and the client that writes to and reads from a majority of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.helpers.components import an_index, index_client, reachable
from tests.helpers.ports import free_address

from kraken.core.digest import Digest
from kraken.core.errors import Invalid, NotFound, Rejected, Unavailable
from kraken.index.app import Index
from kraken.index.client import IndexClient
from kraken.oci.manifests import OCI_MANIFEST, Manifest, ManifestRecord
from kraken.oci.pages import NamePage, PageRequest
from kraken.oci.references import RepositoryName, Tag

APP = RepositoryName("team/app")
LATEST = Tag("latest")
LAYER = Digest.of(b"a layer")
ALL = PageRequest(100, None)


def record(name: str) -> ManifestRecord:
    return ManifestRecord(Digest.of(name.encode()), OCI_MANIFEST, len(name))


def tagged(manifest: ManifestRecord, *tags: Tag) -> tuple[ManifestRecord, Manifest, Sequence[Tag]]:
    """The arguments of a `put_manifest`."""
    return manifest, NAMES_NOTHING, tags


NAMES_NOTHING = Manifest(OCI_MANIFEST, (), (), None, "", {})


ONE, TWO, THREE = record("one"), record("two"), record("three")


class Nodes:
    """Index nodes that a test stops and starts."""

    def __init__(self, data: Path, count: int) -> None:
        self._data = data
        self.addresses = [free_address() for _ in range(count)]
        self._running: dict[int, Index] = {}

    async def start(self, *numbers: int) -> None:
        for number in numbers:
            self._running[number] = an_index(self._data / str(number), self.addresses[number])
            await self._running[number].start()

    async def stop(self, *numbers: int) -> None:
        for number in numbers:
            await self._running.pop(number).stop()

    async def stop_all(self) -> None:
        await self.stop(*list(self._running))


@asynccontextmanager
async def nodes(data: Path, count: int) -> AsyncIterator[tuple[Nodes, IndexClient]]:
    built = Nodes(data, count)
    try:
        await built.start(*range(count))
        async with index_client(built.addresses) as client:
            yield built, client
    finally:
        await built.stop_all()


async def test_what_was_written_is_read_by_everybody(tmp_path: Path) -> None:
    async with nodes(tmp_path, 3) as (built, client), index_client(built.addresses, "00000000000000bb") as other:
        await client.put_manifest(APP, *tagged(ONE, LATEST, Tag("v1")))

        assert await other.resolve(APP, LATEST) == ONE
        assert await other.resolve(APP, ONE.digest) == ONE
        assert await other.tags(APP, ALL) == NamePage(("latest", "v1"), more=False)
        assert await other.manifests(APP, [ONE.digest, TWO.digest]) == {ONE.digest: ONE}


async def test_what_does_not_exist_is_not_found(tmp_path: Path) -> None:
    async with nodes(tmp_path, 2) as (_, client):
        for asking in (client.resolve(APP, LATEST), client.resolve(APP, ONE.digest), client.tags(APP, ALL)):
            with pytest.raises(NotFound):
                await asking
        assert await client.manifests(APP, [ONE.digest]) == {}
        assert await client.manifests(APP, []) == {}


async def test_two_of_three_nodes_are_enough_for_everything(tmp_path: Path) -> None:
    async with nodes(tmp_path, 3) as (built, client):
        await built.stop(1)
        await client.put_manifest(APP, *tagged(ONE, LATEST))

        assert await client.resolve(APP, LATEST) == ONE
        with pytest.raises(NotFound):
            await client.resolve(APP, Tag("v1"))


@pytest.mark.parametrize("count", [2, 3])
async def test_a_minority_takes_no_write_but_still_answers(tmp_path: Path, count: int) -> None:
    async with nodes(tmp_path, count) as (built, client):
        await client.put_manifest(APP, *tagged(ONE, LATEST))
        await built.stop(*range(1, count))

        with pytest.raises(Unavailable):
            await client.put_manifest(APP, *tagged(TWO, LATEST))
        assert await client.resolve(APP, ONE.digest) == ONE
        assert (await client.tags(APP, ALL)).names == ("latest",)


async def test_one_of_two_nodes_knows_what_does_not_exist_and_one_of_three_does_not(tmp_path: Path) -> None:
    for count, error in ((2, NotFound), (3, Unavailable)):
        async with nodes(tmp_path / str(count), count) as (built, client):
            await built.stop(*range(1, count))

            for asking in (client.resolve(APP, LATEST), client.tags(APP, ALL)):
                with pytest.raises(error):
                    await asking


async def test_what_one_of_three_nodes_knows_to_be_removed_may_have_come_back(tmp_path: Path) -> None:
    async with nodes(tmp_path, 3) as (built, client):
        await client.put_manifest(APP, *tagged(ONE, LATEST))
        await client.remove(APP, tags=[LATEST], manifests=[ONE.digest])
        await built.stop(1, 2)

        for asking in (client.resolve(APP, LATEST), client.resolve(APP, ONE.digest), client.tags(APP, ALL)):
            with pytest.raises(Unavailable):
                await asking


async def test_a_node_that_just_came_back_is_asked_although_it_counts_as_down(tmp_path: Path) -> None:
    async with nodes(tmp_path, 3) as (built, client):
        await built.stop(2)
        for _attempt in range(3):
            await client.put_manifest(APP, *tagged(ONE, LATEST))
        await built.stop(1)
        await built.start(2)

        assert (await client.repositories(ALL)).names == (str(APP),)
        assert await client.links(APP, [LAYER]) == {}
        with pytest.raises(NotFound):
            await client.resolve(APP, Tag("v1"))


async def test_without_any_node_nothing_is_said_to_be_missing(tmp_path: Path) -> None:
    async with nodes(tmp_path, 2) as (built, client):
        await built.stop_all()

        for asking in (client.resolve(APP, LATEST), client.tags(APP, ALL), client.manifests(APP, [ONE.digest])):
            with pytest.raises(Unavailable):
                await asking
    async with index_client([]) as client:
        with pytest.raises(Unavailable):
            await client.resolve(APP, LATEST)


async def test_a_node_that_missed_a_write_does_not_bring_the_old_tag_back(tmp_path: Path) -> None:
    async with nodes(tmp_path, 3) as (built, client):
        await client.put_manifest(APP, *tagged(ONE, LATEST))
        await built.stop(2)
        await client.put_manifest(APP, *tagged(TWO, LATEST, Tag("new")))
        await built.start(2)
        for absent in (0, 1):
            await built.stop(absent)
            async with index_client(built.addresses, "00000000000000bb") as other:
                assert await other.resolve(APP, LATEST) == TWO
                assert (await other.tags(APP, ALL)).names == ("latest", "new")
                assert await other.manifests(APP, [TWO.digest]) == {TWO.digest: TWO}
            await built.start(absent)


async def test_everything_is_there_after_a_restart_of_all_nodes(tmp_path: Path) -> None:
    async with nodes(tmp_path, 2) as (built, client):
        await client.put_manifest(APP, *tagged(ONE, LATEST))
        await built.stop_all()
        await built.start(0, 1)

        assert await client.resolve(APP, LATEST) == ONE


class SlowWatch:
    """A clock whose date is wrong by years."""

    def __init__(self, year: int) -> None:
        self._year = year

    def now(self) -> float:
        return 0.0

    def wall(self) -> datetime:
        return datetime(self._year, 1, 1, tzinfo=UTC)


async def test_the_later_write_wins_even_when_the_clock_of_its_writer_is_behind(tmp_path: Path) -> None:
    async with nodes(tmp_path, 2) as (built, _), reachable("index", built.addresses) as (http, members):
        ahead = IndexClient(http, members, SlowWatch(2040), "00000000000000aa")
        behind = IndexClient(http, members, SlowWatch(2001), "00000000000000bb")
        for writer, wanted in ((ahead, ONE), (behind, TWO), (ahead, THREE), (behind, ONE)):
            await writer.put_manifest(APP, *tagged(wanted, LATEST))

            assert await behind.resolve(APP, LATEST) == wanted
        for client in (ahead, behind):
            await client.close()


async def test_a_node_that_missed_a_removal_does_not_bring_back_what_is_gone(tmp_path: Path) -> None:
    async with nodes(tmp_path, 3) as (built, client):
        await client.put_manifest(APP, *tagged(ONE, LATEST, Tag("v1")), {LAYER: 7})
        await client.put_manifest(APP, *tagged(TWO, Tag("v2")))
        await built.stop(2)
        await client.remove(APP, tags=[Tag("v2")], manifests=[ONE.digest], links=[LAYER])
        await built.start(2)
        for absent in (0, 1):
            await built.stop(absent)
            async with index_client(built.addresses, "00000000000000bb") as other:
                for reference in (LATEST, Tag("v1"), Tag("v2"), ONE.digest):
                    with pytest.raises(NotFound):
                        await other.resolve(APP, reference)
                assert await other.tags(APP, ALL) == NamePage((), more=False)
                assert await other.tags_of(APP, ONE.digest) == []
                assert await other.manifests(APP, [ONE.digest, TWO.digest]) == {TWO.digest: TWO}
                assert await other.links(APP, [LAYER]) == {}
                assert await other.used([LAYER]) == {LAYER}  # in doubt, it is: the bytes stay
            await built.start(absent)


async def test_pages_are_whole_although_a_node_holds_tags_that_others_know_to_be_gone(tmp_path: Path) -> None:
    names = [f"t{number:02}" for number in range(20)]
    async with nodes(tmp_path, 3) as (built, client):
        await client.put_manifest(APP, *tagged(ONE, *map(Tag, names)))
        await built.stop(2)
        await client.remove(APP, tags=[Tag(name) for name in names[2:9]])
        await client.put_manifest(APP, *tagged(ONE, Tag("t05x")))
        await built.start(2)
        expected = [*names[:2], "t05x", *names[9:]]
        for absent in (0, 1):
            await built.stop(absent)
            async with index_client(built.addresses, "00000000000000bb") as other:
                found: list[str] = []
                while (page := await other.tags(APP, PageRequest(3, found[-1] if found else None))).names:
                    assert len(page.names) == 3 or not page.more
                    found += page.names
                assert found == expected
            await built.start(absent)


async def test_pages_say_whether_more_follows(tmp_path: Path) -> None:
    async with nodes(tmp_path, 2) as (_, client):
        await client.put_manifest(APP, *tagged(ONE, *(Tag(name) for name in ("a", "b", "c"))))

        assert await client.tags(APP, PageRequest(2, None)) == NamePage(("a", "b"), more=True)
        assert await client.tags(APP, PageRequest(2, "a")) == NamePage(("b", "c"), more=False)
        assert await client.tags(APP, PageRequest(0, None)) == NamePage((), more=True)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/manifests?repository=UPPER&reference=latest", None),
        ("GET", "/manifests?repository=a&reference=.x", None),
        ("GET", "/manifests?repository=a", None),
        ("GET", "/tags?repository=a&limit=-1", None),
        ("GET", "/tags?repository=a", None),
        ("POST", "/writes", b"{}"),
        ("POST", "/writes", b"\xff"),
        ("POST", "/garbage/needed", b'{"suspects":[{"kind":"tag","repository":"a","name":".x","version":"1"}]}'),
        ("POST", "/garbage/removed", b'{"suspects":[{"kind":"bytes"}]}'),
        ("POST", "/manifests/known", b'{"repository":"a","digests":["x"]}'),
    ],
)
async def test_what_is_malformed_is_refused(tmp_path: Path, method: str, path: str, body: bytes | None) -> None:
    node = an_index(tmp_path, free_address())
    await node.start()
    try:
        async with reachable("index", [node.http]) as (http, _):
            bare, _, query = path.partition("?")
            params = dict(part.split("=") for part in query.split("&") if part)
            with pytest.raises((Invalid, Rejected)):
                await http.bytes(method, node.http, bare, params=params, data=body)
    finally:
        await node.stop()
