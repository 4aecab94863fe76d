"""The agent as a registry, in front of a cache: what it still answers when others do not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
from structlog.testing import capture_logs
from tests.helpers.blobs import blob_of
from tests.helpers.registry import an_image
from tests.unit.agent.site import an_agent

from kraken.agent.contents import RepositoryContents
from kraken.agent.known_manifests import KnownManifests
from kraken.agent.service import AgentReads
from kraken.core.digest import Digest
from kraken.core.errors import Corrupt, KrakenError, NotFound, Unavailable
from kraken.index.client import IndexClient, Link
from kraken.index.versions import Version
from kraken.observability.logs import get_logger
from kraken.oci.manifests import MAX_MANIFEST_BYTES, OCI_MANIFEST, ManifestRecord
from kraken.oci.pages import NamePage, PageRequest
from kraken.oci.references import Reference, RepositoryName, Tag
from kraken.runtime.bandwidth import Bandwidth
from kraken.runtime.clock import SystemClock
from kraken.runtime.threads import FileThreads

APP = RepositoryName("team/app")
IMAGE = an_image(b"a layer")
MANIFEST, LAYER = blob_of(IMAGE.manifest), blob_of(b"a layer")
RECORD = ManifestRecord(MANIFEST.digest, OCI_MANIFEST, len(MANIFEST.data))
DOWN = Unavailable("no index node answers")


class ScriptedIndex:
    """Knows `records`; fails with `error` while there is one."""

    def __init__(self) -> None:
        self.records: dict[Reference, ManifestRecord] = {Tag("v1"): RECORD, RECORD.digest: RECORD}
        self.error: KrakenError | None = None
        self.links_of_app: set[Digest] = set()
        self.asked: list[Reference] = []

    async def resolve(self, _repository: RepositoryName, reference: Reference) -> ManifestRecord:
        self.asked.append(reference)
        if self.error is not None:
            raise self.error
        if reference not in self.records:
            raise NotFound(f"no {reference}")
        return self.records[reference]

    async def links(self, _repository: RepositoryName, digests: list[Digest]) -> dict[Digest, Link]:
        self.asked += digests
        if self.error is not None:
            raise self.error
        return {digest: Link(1, Version(1, 0, "0" * 16)) for digest in digests if digest in self.links_of_app}

    async def tags(self, _repository: RepositoryName, _page: PageRequest) -> NamePage:
        return NamePage(("v1",), more=False)


@asynccontextmanager
async def reads(tmp_path: Path, valid_seconds: float = 60) -> AsyncIterator[tuple[AgentReads, ScriptedIndex]]:
    threads, index = FileThreads(1), ScriptedIndex()
    known = KnownManifests(tmp_path / "known", threads)
    await known.start()
    async with an_agent() as agent:
        agent.trackers.knows(MANIFEST, MANIFEST.data)
        agent.trackers.knows(LAYER, LAYER.data)
        log = get_logger("agent", "test")
        yield (
            AgentReads(
                agent.cache,
                known,
                RepositoryContents(index, valid_seconds, SystemClock(), log),
                cast("IndexClient", index),
                Bandwidth(),
                SystemClock(),
                log,
                agent.metrics,
            ),
            index,
        )
    await known.close()
    threads.close()


async def test_a_tag_is_asked_of_the_index_each_time(tmp_path: Path) -> None:
    moved = ManifestRecord(Digest.of(b"moved"), OCI_MANIFEST, 5)
    async with reads(tmp_path) as (agent, index):
        assert await agent.resolve(APP, Tag("v1")) == RECORD
        index.records[Tag("v1")] = moved

        assert await agent.resolve(APP, Tag("v1")) == moved
        assert index.asked == [Tag("v1")] * 2


async def test_a_tag_is_served_as_last_known_while_no_index_node_answers(tmp_path: Path) -> None:
    async with reads(tmp_path) as (agent, index):
        await agent.resolve(APP, Tag("v1"))
        index.error = DOWN

        with capture_logs() as logs:
            assert await agent.resolve(APP, Tag("v1")) == RECORD

        assert [line["event"] for line in logs] == ["tag_served_stale"]
        with pytest.raises(Unavailable):
            await agent.resolve(APP, Tag("never-asked"))


async def test_a_tag_that_is_gone_is_not_found_although_it_was_known(tmp_path: Path) -> None:
    async with reads(tmp_path) as (agent, index):
        await agent.resolve(APP, Tag("v1"))
        index.records.clear()

        with pytest.raises(NotFound):
            await agent.resolve(APP, Tag("v1"))


async def test_what_a_digest_means_is_asked_once(tmp_path: Path) -> None:
    async with reads(tmp_path) as (agent, index):
        await agent.resolve(APP, Tag("v1"))
        index.error = DOWN

        assert await agent.resolve(APP, RECORD.digest) == RECORD
        assert index.asked == [Tag("v1")]


async def test_a_manifest_is_read_through_the_cache(tmp_path: Path) -> None:
    async with reads(tmp_path) as (agent, _):
        assert await agent.manifest_bytes(APP, RECORD) == MANIFEST.data
        assert await agent.tags(APP, PageRequest(10, None)) == NamePage(("v1",), more=False)


async def test_a_manifest_speaks_for_what_it_names(tmp_path: Path) -> None:
    async with reads(tmp_path) as (agent, index):
        record = await agent.resolve(APP, Tag("v1"))
        await agent.manifest_bytes(APP, record)

        assert await agent.blob_size(APP, LAYER.digest) == len(LAYER.data)
        assert index.asked == [Tag("v1")]


async def test_a_blob_of_another_repository_is_not_found(tmp_path: Path) -> None:
    async with reads(tmp_path) as (agent, index):
        with pytest.raises(NotFound):
            await agent.blob_size(APP, LAYER.digest)

        index.links_of_app.add(LAYER.digest)
        for _ in range(2):
            assert await agent.blob_size(APP, LAYER.digest) == len(LAYER.data)
        assert index.asked == [LAYER.digest] * 2


async def test_blobs_are_served_while_no_index_node_answers(tmp_path: Path) -> None:
    async with reads(tmp_path) as (agent, index):
        index.error = DOWN
        with capture_logs() as logs:
            assert await agent.blob_size(APP, LAYER.digest) == len(LAYER.data)

        assert [line["event"] for line in logs] == ["blob_served_unconfirmed"]


async def test_what_was_confirmed_is_asked_again_in_time(tmp_path: Path) -> None:
    async with reads(tmp_path, valid_seconds=0) as (agent, index):
        await agent.resolve(APP, Tag("v1"))
        await agent.resolve(APP, RECORD.digest)
        assert index.asked == [Tag("v1"), RECORD.digest]

        index.records.clear()
        with pytest.raises(NotFound):
            await agent.resolve(APP, RECORD.digest)


@pytest.mark.parametrize("size", [RECORD.size + 1, MAX_MANIFEST_BYTES + 1])
async def test_a_manifest_of_another_size_than_the_index_says_is_not_read(tmp_path: Path, size: int) -> None:
    async with reads(tmp_path) as (agent, _):
        with pytest.raises(Corrupt):
            await agent.manifest_bytes(APP, ManifestRecord(RECORD.digest, RECORD.media_type, size))
