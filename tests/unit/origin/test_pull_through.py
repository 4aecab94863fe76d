"""What tags of mirrored repositories mean; blobs are in test_mirror_blobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from structlog.testing import capture_logs
from tests.helpers.registry import an_image, an_index
from tests.unit.origin.mirror_world import LATEST, LOCAL, MirrorWorld, turned

from kraken.core.digest import Digest
from kraken.core.errors import KrakenError, NotFound, Rejected, Unavailable
from kraken.oci.manifests import OCI_MANIFEST, ManifestRecord
from kraken.oci.references import RepositoryName, Tag
from kraken.upstream.errors import Denied, LeftAlone, Throttled, Unreachable
from kraken.upstream.settings import MirrorSettings, UpstreamSettings

IMAGE, OTHER = an_image(b"layer"), an_image(b"another layer")

Worlds = Callable[..., MirrorWorld]


@pytest.fixture
async def worlds() -> AsyncIterator[Worlds]:
    made: list[MirrorWorld] = []

    def make(upstream: UpstreamSettings | None = None, settings: MirrorSettings | None = None) -> MirrorWorld:
        world = MirrorWorld(upstream or UpstreamSettings("docker.io"), settings or MirrorSettings())
        made.append(world)
        return world

    yield make
    for world in made:
        await world.service.close()


async def test_an_unknown_tag_is_fetched_and_kept_with_its_name(worlds: Worlds) -> None:
    world = worlds()
    digest = world.upstream.add(IMAGE, LATEST)

    record = await world.service.resolve(LOCAL, LATEST)

    assert record == ManifestRecord(digest, OCI_MANIFEST, len(IMAGE.manifest))
    assert world.upstream.asked == ["HEAD latest", f"GET {digest}"]
    assert world.blobs.data == {digest: IMAGE.manifest}
    assert world.names.known == {(LOCAL, it): (record, world.clock.now()) for it in (LATEST, digest)}
    assert [it.digest for it in world.names.manifests[digest].blobs] == [Digest.of(it) for it in IMAGE.blobs]


async def test_a_fresh_tag_costs_the_upstream_nothing(worlds: Worlds) -> None:
    world = worlds(UpstreamSettings("docker.io", revalidate_seconds=60.0))
    digest = world.upstream.add(IMAGE, LATEST)
    await world.resolved()
    world.upstream.asked.clear()

    world.clock.move(60.0)
    assert await world.resolved() == digest
    assert world.upstream.asked == []

    world.clock.move(0.1)
    assert await world.resolved() == digest
    assert world.upstream.asked == ["HEAD latest"]


async def test_a_confirmed_tag_is_fresh_again(worlds: Worlds) -> None:
    world = worlds()
    world.upstream.add(IMAGE, LATEST)
    await world.resolved()
    world.clock.move(61.0)
    await world.resolved()
    world.upstream.asked.clear()

    world.clock.move(59.0)
    await world.resolved()

    assert world.upstream.asked == []


async def test_a_tag_that_moved_is_seen_once_it_is_not_fresh(worlds: Worlds) -> None:
    world = worlds()
    world.upstream.add(IMAGE, LATEST)
    await world.resolved()
    moved = world.upstream.add(OTHER, LATEST)
    world.clock.move(61.0)

    assert await world.resolved() == moved
    assert world.names.known[LOCAL, LATEST][0].digest == moved


async def test_a_tag_that_moved_back_is_not_fetched_again(worlds: Worlds) -> None:
    world = worlds()
    first = world.upstream.add(IMAGE, LATEST)
    await world.resolved()
    world.upstream.add(OTHER, LATEST)
    world.clock.move(61.0)
    await world.resolved()
    world.upstream.add(IMAGE, LATEST)
    world.clock.move(61.0)
    world.upstream.asked.clear()

    assert await world.resolved() == first
    assert world.upstream.asked == ["HEAD latest"]
    assert world.names.known[LOCAL, LATEST] == (world.names.known[LOCAL, first][0], world.clock.now())


async def test_a_known_digest_is_never_asked_again(worlds: Worlds) -> None:
    world = worlds()
    digest = world.upstream.add(IMAGE)
    assert await world.resolved(digest) == digest
    assert world.upstream.asked == [f"GET {digest}"]

    world.clock.move(10**6)
    world.upstream.failure = Unreachable("no route")
    assert await world.resolved(digest) == digest
    assert len(world.upstream.asked) == 1


async def test_an_upstream_that_does_not_tell_digests_is_asked_for_the_manifest(worlds: Worlds) -> None:
    world = worlds()
    world.upstream.tells_digests = False
    digest = world.upstream.add(IMAGE, LATEST)

    assert await world.resolved() == digest
    assert world.upstream.asked == ["HEAD latest", "GET latest"]


@pytest.mark.parametrize(
    "said", ["application/json", "text/plain; charset=utf-8", "application/octet-stream", OCI_MANIFEST]
)
async def test_the_type_is_the_manifests_own_where_the_server_does_not_know(worlds: Worlds, said: str) -> None:
    world = worlds()
    world.upstream.add(IMAGE, LATEST, content_type=said)

    assert (await world.service.resolve(LOCAL, LATEST)).media_type == OCI_MANIFEST


async def test_an_index_is_kept_without_its_images(worlds: Worlds) -> None:
    world = worlds()
    index = an_index(IMAGE, OTHER)
    digest = world.upstream.add(index, LATEST)

    assert await world.resolved() == digest
    assert set(world.blobs.data) == {digest}
    assert len(world.names.manifests[digest].children) == 2


async def test_a_crowd_asks_once(worlds: Worlds) -> None:
    world = worlds()
    digest = world.upstream.add(IMAGE, LATEST)
    world.upstream.gate.clear()
    crowd = [asyncio.ensure_future(world.resolved()) for _ in range(1000)]
    await turned()
    world.upstream.gate.set()

    assert await asyncio.gather(*crowd) == [digest] * 1000
    assert world.upstream.asked == ["HEAD latest", f"GET {digest}"]


@pytest.mark.parametrize("failure", [Unreachable("no route"), Throttled("429", retry_after=600.0), LeftAlone("later")])
async def test_a_stale_tag_is_served_while_the_upstream_cannot_be_asked(worlds: Worlds, failure: KrakenError) -> None:
    world = worlds()
    digest = world.upstream.add(IMAGE, LATEST)
    await world.resolved()
    world.clock.move(10_000.0)
    world.upstream.failure = failure

    with capture_logs() as logs:
        assert await world.resolved() == digest

    assert [(it["event"], it["log_level"], it["repository"], it["tag"], it["error"]) for it in logs] == [
        ("mirror_served_stale", "warning", LOCAL, LATEST, str(failure))
    ]
    assert world.metrics.value("kraken_upstream_stale_total", upstream="docker.io") == 1

    moved = world.upstream.add(OTHER, LATEST)
    world.upstream.failure = None
    assert await world.resolved() == moved


async def test_nothing_stale_is_served_where_the_setting_says_so(worlds: Worlds) -> None:
    world = worlds(UpstreamSettings("docker.io", serve_stale=False))
    world.upstream.add(IMAGE, LATEST)
    await world.resolved()
    world.clock.move(61.0)
    world.upstream.failure = Throttled("429", retry_after=600.0)

    with pytest.raises(Throttled) as caught:
        await world.resolved()
    assert caught.value.retry_after == 600.0
    assert world.metrics.value("kraken_upstream_stale_total", upstream="docker.io") == 0


async def test_what_was_never_known_is_unavailable_while_the_upstream_cannot_be_asked(worlds: Worlds) -> None:
    world = worlds()
    world.upstream.failure = Unreachable("no route")

    with capture_logs() as logs, pytest.raises(Unavailable, match="no route"):
        await world.resolved()
    assert [it["event"] for it in logs] == ["mirror_fetch_failed"]


async def test_what_the_upstream_does_not_have_is_remembered_for_a_while(worlds: Worlds) -> None:
    world = worlds(settings=MirrorSettings(not_found_seconds=10.0))
    for _ in range(1000):
        with pytest.raises(NotFound, match="library/app has no manifest latest"):
            await world.resolved()
    assert world.upstream.asked == ["HEAD latest"]

    digest = world.upstream.add(IMAGE, LATEST)
    world.clock.move(10.0)
    assert await world.resolved() == digest


async def test_an_absence_is_one_of_this_tag_only(worlds: Worlds) -> None:
    world = worlds()
    digest = world.upstream.add(IMAGE, Tag("there"))
    with pytest.raises(NotFound):
        await world.resolved()

    assert await world.resolved(Tag("there")) == digest


async def test_a_tag_that_the_upstream_deleted_is_gone(worlds: Worlds) -> None:
    world = worlds()
    world.upstream.add(IMAGE, LATEST)
    await world.resolved()
    world.upstream.manifests.clear()
    world.clock.move(61.0)

    with pytest.raises(NotFound):
        await world.resolved()


async def test_a_normal_miss_is_not_logged_and_a_denial_is(worlds: Worlds) -> None:
    world = worlds(settings=MirrorSettings(not_found_seconds=0.0))
    with capture_logs() as logs:
        with pytest.raises(NotFound):
            await world.resolved()
        world.upstream.failure = Denied("403: set username and password_file")
        with pytest.raises(NotFound, match="403"):
            await world.resolved()

    assert [it["error"] for it in logs] == ["403: set username and password_file"]


async def test_what_is_no_image_is_refused_and_not_kept(worlds: Worlds) -> None:
    world = worlds()
    world.upstream.add(IMAGE, LATEST, content_type="application/vnd.docker.distribution.manifest.v1+json")

    with pytest.raises(Rejected, match=r"docker\.io/library/app, latest"):
        await world.resolved()
    assert (world.blobs.data, world.names.known) == ({}, {})


async def test_a_confirmation_that_cannot_be_written_harms_nobody(worlds: Worlds) -> None:
    world = worlds()
    digest = world.upstream.add(IMAGE, LATEST)
    await world.resolved()
    world.clock.move(61.0)
    world.names.is_down = True

    assert await world.resolved() == digest


async def test_a_new_name_that_cannot_be_written_is_not_given(worlds: Worlds) -> None:
    world = worlds()
    world.upstream.add(IMAGE, LATEST)
    world.names.is_down = True

    with pytest.raises(Unavailable, match="no index node"):
        await world.resolved()


async def test_only_mirrored_repositories_are_pulled_through(worlds: Worlds) -> None:
    world = worlds()

    assert world.service.is_mirrored(LOCAL)
    for name in ("library/app", "ghcr.io/app"):
        assert not world.service.is_mirrored(RepositoryName(name))
        with pytest.raises(NotFound, match="no upstream"):
            await world.service.resolve(RepositoryName(name), LATEST)
        with pytest.raises(NotFound, match="no upstream"):
            await world.service.fetch_blob(RepositoryName(name), Digest.of(b""))


async def test_the_short_name_of_an_image_of_docker_hub_is_the_same_repository(worlds: Worlds) -> None:
    world = worlds()
    digest = world.upstream.add(IMAGE, LATEST)

    assert (await world.service.resolve(RepositoryName("docker.io/app"), LATEST)).digest == digest
    assert (LOCAL, LATEST) in world.names.known
