from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from structlog.testing import capture_logs
from tests.helpers.blobs import Blob, a_blob
from tests.helpers.registry import an_image
from tests.unit.origin.mirror_world import LATEST, LOCAL, THERE, MirrorWorld, turned

from kraken.core.errors import KrakenError, NotFound, Rejected, Unavailable
from kraken.core.metainfo import Metainfo
from kraken.oci.references import RepositoryName
from kraken.upstream.errors import Denied, LeftAlone
from kraken.upstream.settings import MirrorSettings

BLOB = a_blob(pieces=2)
OTHER_LOCAL, OTHER_THERE = RepositoryName("docker.io/library/other"), RepositoryName("library/other")

Worlds = Callable[..., MirrorWorld]


@pytest.fixture
async def worlds() -> AsyncIterator[Worlds]:
    made: list[MirrorWorld] = []

    def make(**settings: float) -> MirrorWorld:
        made.append(MirrorWorld(settings=MirrorSettings(**settings)))  # type: ignore[arg-type] # as the field has it
        return made[-1]

    yield make
    for world in made:
        await world.service.close()


def put(world: MirrorWorld, blob: Blob, there: RepositoryName = THERE) -> None:
    """Let the upstream have a blob, which it sends in three chunks."""
    third = len(blob.data) // 3
    world.upstream.blobs[there, blob.digest] = [blob.data[:third], blob.data[third : 2 * third], blob.data[2 * third :]]


async def begun(world: MirrorWorld, blob: Blob = BLOB, local: RepositoryName = LOCAL) -> asyncio.Future[Metainfo]:
    """A fetch that waits for the upstream's answer, until its gate opens."""
    world.upstream.gate.clear()
    caller = asyncio.ensure_future(world.service.fetch_blob(local, blob.digest))
    await turned()
    return caller


async def test_a_blob_is_fetched_stored_and_described(worlds: Worlds) -> None:
    world = worlds()
    put(world, BLOB)

    with capture_logs() as logs:
        assert await world.service.fetch_blob(LOCAL, BLOB.digest) == BLOB.metainfo

    assert world.blobs.data == {BLOB.digest: BLOB.data}
    assert [(it["event"], it["repository"], it["bytes"]) for it in logs] == [("mirror_fetched", LOCAL, len(BLOB.data))]


async def test_a_blob_that_is_here_costs_the_upstream_nothing(worlds: Worlds) -> None:
    world = worlds()
    world.blobs.data[BLOB.digest] = BLOB.data

    assert await world.service.fetch_blob(LOCAL, BLOB.digest) == BLOB.metainfo
    assert world.upstream.asked == []


async def test_a_crowd_reads_the_upstream_once(worlds: Worlds) -> None:
    world = worlds()
    put(world, BLOB)
    world.upstream.gate.clear()
    crowd = [asyncio.ensure_future(world.service.fetch_blob(LOCAL, BLOB.digest)) for _ in range(1000)]
    await turned()
    world.upstream.gate.set()

    assert set(await asyncio.gather(*crowd)) == {BLOB.metainfo}
    assert world.upstream.asked == ["GET library/app blob"]


async def test_callers_that_go_away_do_not_stop_it(worlds: Worlds) -> None:
    world = worlds()
    put(world, BLOB)
    caller = await begun(world)
    caller.cancel()
    await turned()
    assert world.metrics.value("kraken_upstream_fetches") == 1

    world.upstream.gate.set()
    await turned()

    assert world.blobs.data == {BLOB.digest: BLOB.data}
    assert world.metrics.value("kraken_upstream_fetches") == 0


async def test_a_long_fetch_tells_how_far_it_is_and_goes_on(worlds: Worlds) -> None:
    world = worlds(wait_seconds=0.1)
    put(world, BLOB)
    world.upstream.flow.clear()

    size = len(BLOB.data)
    with pytest.raises(Unavailable, match=f"{size // 3} of {size} bytes are here") as caught:
        await world.service.fetch_blob(LOCAL, BLOB.digest)
    assert caught.value.retry_after == 1.0

    again = asyncio.ensure_future(world.service.fetch_blob(LOCAL, BLOB.digest))
    await turned()
    world.upstream.flow.set()
    assert await again == BLOB.metainfo
    assert world.upstream.asked == ["GET library/app blob"]


async def test_a_failure_is_told_to_all_who_wait_and_not_kept(worlds: Worlds) -> None:
    world = worlds()
    callers = [await begun(world) for _ in range(3)]
    world.upstream.failure = Unavailable("no answer")
    world.upstream.gate.set()

    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["no answer"] * 3
    assert world.upstream.asked == ["GET library/app blob"]

    put(world, BLOB)
    world.upstream.failure = None
    assert await world.service.fetch_blob(LOCAL, BLOB.digest) == BLOB.metainfo


async def test_wrong_bytes_are_the_upstreams_fault_and_are_not_kept(worlds: Worlds) -> None:
    world = worlds()
    world.upstream.blobs[THERE, BLOB.digest] = [b"other bytes"]

    with pytest.raises(Unavailable, match=r"docker\.io/library/app does not give .* have the digest") as caught:
        await world.service.fetch_blob(LOCAL, BLOB.digest)
    assert caught.value.retry_after == 10.0
    assert isinstance(caught.value.__cause__, Rejected)
    assert world.blobs.data == {}


async def test_only_so_many_are_fetched_at_once(worlds: Worlds) -> None:
    world = worlds(max_fetches=2, wait_seconds=0.1)
    blobs = [a_blob(seed=seed) for seed in range(3)]
    for blob in blobs:
        put(world, blob)
    callers = [await begun(world, blob) for blob in blobs]

    assert len(world.upstream.asked) == 2
    with pytest.raises(Unavailable, match="waits for its turn"):
        await callers[2]

    world.upstream.gate.set()
    await turned()
    assert set(world.blobs.data) == {blob.digest for blob in blobs}
    await asyncio.gather(*callers, return_exceptions=True)


async def test_what_came_another_way_meanwhile_is_not_fetched(worlds: Worlds) -> None:
    world = worlds(max_fetches=1)
    first, second = a_blob(seed=1), a_blob(seed=2)
    put(world, first)
    callers = [await begun(world, blob) for blob in (first, second)]
    world.blobs.data[second.digest] = second.data
    world.upstream.gate.set()

    assert await asyncio.gather(*callers) == [first.metainfo, second.metainfo]
    assert len(world.upstream.asked) == 1


async def test_too_many_are_refused_and_those_under_way_can_be_joined(worlds: Worlds) -> None:
    world = worlds(max_fetches=1, max_waiting=2)
    blobs = [a_blob(seed=seed) for seed in range(3)]
    for blob in blobs:
        put(world, blob)
    callers = [await begun(world, blob) for blob in blobs[:2]]

    with pytest.raises(Unavailable, match="one too many"):
        await world.service.fetch_blob(LOCAL, blobs[2].digest)
    callers.append(await begun(world, blobs[0]))

    world.upstream.gate.set()
    assert {it.digest for it in await asyncio.gather(*callers)} == {blob.digest for blob in blobs[:2]}
    assert (await world.service.fetch_blob(LOCAL, blobs[2].digest)).digest == blobs[2].digest


async def test_a_failure_elsewhere_says_nothing_about_this_repository(worlds: Worlds) -> None:
    world = worlds()
    put(world, BLOB, OTHER_THERE)
    theirs = await begun(world)
    ours = await begun(world, local=OTHER_LOCAL)
    assert world.upstream.asked == ["GET library/app blob"]
    world.upstream.gate.set()

    assert await ours == BLOB.metainfo
    with pytest.raises(NotFound):
        await theirs


async def test_a_success_elsewhere_is_one_here(worlds: Worlds) -> None:
    world = worlds()
    put(world, BLOB)
    callers = [await begun(world), await begun(world, local=OTHER_LOCAL)]
    world.upstream.gate.set()

    assert await asyncio.gather(*callers) == [BLOB.metainfo] * 2
    assert world.upstream.asked == ["GET library/app blob"]


async def test_a_manifest_whose_bytes_were_lost_is_found_again(worlds: Worlds) -> None:
    world = worlds()
    digest = world.upstream.add(an_image(b"layer"), LATEST)
    await world.resolved()
    world.blobs.data.clear()

    assert (await world.service.fetch_blob(LOCAL, digest)).digest == digest
    assert world.upstream.asked[-2:] == ["GET library/app blob", f"GET {digest}"]


@pytest.mark.parametrize(
    ("failure", "lines"),
    [(Denied("403"), ["mirror_fetch_failed"]), (LeftAlone("down"), []), (Unavailable("500"), ["mirror_fetch_failed"])],
)
async def test_what_is_worth_a_line_is_logged(worlds: Worlds, failure: KrakenError, lines: list[str]) -> None:
    world = worlds()
    world.upstream.failure = failure

    with capture_logs() as logs, pytest.raises(type(failure)):
        await world.service.fetch_blob(LOCAL, BLOB.digest)
    assert [it["event"] for it in logs] == lines
    assert len(world.upstream.asked) == 1


async def test_closing_ends_fetches_and_tells_who_waits(worlds: Worlds) -> None:
    world = worlds()
    put(world, BLOB)
    caller = await begun(world)

    await world.service.close()

    with pytest.raises(Unavailable, match="shutting down"):
        await caller
    assert world.blobs.data == {}
