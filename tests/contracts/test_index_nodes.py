"""What the index nodes, with one voice, promise to a collector: the one node that there is, or a majority of three."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.helpers.components import QUICK_PROBES, an_index, index_client, running
from tests.helpers.ports import free_address

from kraken.core.digest import Digest
from kraken.index.client import IndexClient
from kraken.index.collector import Alone
from kraken.index.sqlite import SqliteIndexStore
from kraken.index.suspects import Kind, Nodes, Suspect
from kraken.index.versions import Version
from kraken.oci.manifests import OCI_MANIFEST, Manifest, ManifestRecord
from kraken.oci.references import RepositoryName, Tag
from kraken.runtime.clock import SystemClock

APP = RepositoryName("team/app")
IMAGE = ManifestRecord(Digest.of(b"image"), OCI_MANIFEST, 5)
LAYER, OTHER = Digest.of(b"layer"), Digest.of(b"other")
NAMES_NOTHING = Manifest(OCI_MANIFEST, (), (), None, "", {})


@dataclass(frozen=True, slots=True)
class Index:
    """The nodes as a collector sees them, and as a client does."""

    nodes: Nodes
    client: IndexClient

    async def suspect(self, link: Digest) -> Suspect:
        version = (await self.client.links(APP, [link]))[link].version
        return Suspect(Kind.LINK, APP, str(link), version)


@pytest.fixture(params=["alone", "majority"])
async def index(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Index]:
    """Nodes that know of an image and of two blobs."""
    addresses = [free_address() for _ in range(1 if request.param == "alone" else 3)]
    cluster = replace(QUICK_PROBES, indexes=tuple(addresses))
    members = [an_index(tmp_path / str(at), at, cluster=cluster) for at in addresses]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(*members))
        client = await stack.enter_async_context(index_client(addresses))
        await client.put_manifest(APP, IMAGE, NAMES_NOTHING, [Tag("v1"), Tag("v2")], {LAYER: 5, OTHER: 5})
        if request.param == "majority":
            yield Index(client, client)
            return
        store = SqliteIndexStore(tmp_path / str(addresses[0]) / "index.sqlite", SystemClock())
        stack.push_async_callback(store.close)
        yield Index(Alone(store, SystemClock()), client)


async def test_tags_have_the_versions_that_set_them(index: Index) -> None:
    versions = await index.nodes.tag_versions(APP)

    assert versions.keys() == {"v1", "v2"}
    assert versions["v1"] == (await index.client.lookup(APP, Tag("v1")))[1]
    assert await index.nodes.tag_versions(RepositoryName("team/other")) == {}


async def test_each_suspect_is_answered_for(index: Index) -> None:
    assert list(await index.nodes.needs([])) == []
    assert len(await index.nodes.needs([await index.suspect(it) for it in (LAYER, OTHER)])) == 2


async def test_suspects_are_removed_unless_they_were_written_meanwhile(index: Index) -> None:
    suspects = [await index.suspect(it) for it in (LAYER, OTHER)]
    await index.client.link(APP, {OTHER: 5})

    assert await index.nodes.remove_suspects(suspects) == {1}
    assert (await index.client.links(APP, [LAYER, OTHER])).keys() == {OTHER}
    assert await index.nodes.remove_suspects(suspects) == {1}


async def test_a_tag_is_removed_and_what_it_means_stays(index: Index) -> None:
    versions = await index.nodes.tag_versions(APP)
    older = Version(versions["v2"].milliseconds - 1, 0, "00000000000000aa")
    tags = [Suspect(Kind.TAG, APP, "v1", versions["v1"]), Suspect(Kind.TAG, APP, "v2", older)]

    assert await index.nodes.remove_suspects(tags) == {1}
    assert (await index.nodes.tag_versions(APP)).keys() == {"v2"}
    assert await index.client.resolve(APP, IMAGE.digest) == IMAGE
