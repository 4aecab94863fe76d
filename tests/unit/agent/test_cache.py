"""What an agent's cache promises its readers, and what it does when they go."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest
from tests.helpers.blobs import Blob, a_blob, blob_of
from tests.unit.agent.site import AgentSite, Seeder, an_agent, read_all, until

from kraken.agent.cache import BlobReader
from kraken.agent.settings import DownloadSettings
from kraken.core.digest import Digest
from kraken.core.errors import Corrupt, NotFound, OutOfSpace, Unavailable
from kraken.core.pieces import BLOCK_LENGTH, PieceIndex
from kraken.p2p.priority import Priority
from kraken.storage.eviction import CacheSettings


def idle(agent: AgentSite) -> bool:
    """Whether no download runs any more."""
    return not agent.cache._running


async def test_a_cold_read_begins_before_the_blob_is_complete() -> None:
    blob, origin = a_blob(pieces=4), Seeder()
    async with an_agent(origin) as agent:
        agent.trackers.knows(blob)
        await origin.put(blob, {0, 1})

        async with agent.cache.reader(blob.digest) as reader:
            ready = await reader.available(0, blob.metainfo.size)
            assert 0 < ready <= 2 * BLOCK_LENGTH
            assert not reader.blob.complete
            assert await reader.blob.read(0, ready) == blob.data[:ready]

            await origin.put(blob)
            assert await read_all(reader) == blob.data
            assert reader.source(PieceIndex(0)) == "origins"
        await until(lambda: idle(agent))
        assert await agent.store.size(blob.digest) == blob.metainfo.size


async def test_the_last_piece_waits_for_the_digest_and_a_blob_without_it_is_forgotten() -> None:
    honest, origin = a_blob(pieces=3), Seeder()
    lie = Blob(honest.data, replace(honest.metainfo, digest=Digest.of(b"something else")))
    async with an_agent(origin) as agent:
        agent.trackers.knows(lie)
        await origin.put(lie, {0, 1})

        async with agent.cache.reader(lie.digest) as reader:
            await until(lambda: reader.blob.held & 0b11 == 0b11)
            assert await reader.available(0, lie.metainfo.size) == 2 * BLOCK_LENGTH
            with pytest.raises(Corrupt):
                await asyncio.gather(reader.available(2 * BLOCK_LENGTH, lie.metainfo.size), origin.put(lie))

        assert list(agent.store.stored()) == []
        assert lie.metainfo.swarm not in agent.node.runners
        await until(lambda: agent.trackers.announces_of(lie.metainfo.swarm)[-1].left)


async def test_readers_at_once_share_one_download() -> None:
    blob, origin = a_blob(pieces=8), Seeder()
    async with an_agent(origin) as agent:
        agent.trackers.knows(blob)
        await origin.put(blob)

        async def read() -> bytes:
            async with agent.cache.reader(blob.digest) as reader:
                return await read_all(reader)

        copies = await asyncio.gather(*(read() for _ in range(5)))

        assert copies == [blob.data] * 5
        assert origin.metrics.value("kraken_p2p_bytes_total", direction="out", role="agent") == blob.metainfo.size
        assert agent.trackers.asked == 1


async def test_a_download_is_urgent_while_somebody_reads_it_and_in_the_background_after() -> None:
    blob, origin = a_blob(pieces=8), Seeder()
    async with an_agent(origin, download=DownloadSettings(finish_fraction=0)) as agent:
        agent.trackers.knows(blob)
        await origin.put(blob, {0, 1})

        def priority() -> Priority | None:
            return agent.node.runners[blob.metainfo.swarm].priority

        async with agent.cache.reader(blob.digest):
            await until(lambda: priority() is Priority.INTERACTIVE)
        assert priority() is Priority.BACKGROUND
        async with agent.cache.reader(blob.digest) as reader:
            assert priority() is Priority.INTERACTIVE
            await origin.put(blob)
            await read_all(reader)
        await until(lambda: idle(agent))
        assert priority() is None


async def test_what_will_be_asked_for_is_fetched_ahead_and_becomes_urgent_with_its_first_reader() -> None:
    here, coming, origin = a_blob(pieces=2), a_blob(pieces=3, seed=2), Seeder()
    async with an_agent(origin, download=DownloadSettings(prefetch=True)) as agent:
        agent.trackers.knows(coming)
        await agent.put(here)

        agent.cache.prefetch([Digest.of(b"nobody has this"), here.digest, coming.digest])
        await until(lambda: coming.metainfo.swarm in agent.node.runners)
        runner = agent.node.runners[coming.metainfo.swarm]
        await until(lambda: runner.priority is Priority.PREFETCH)
        assert list(agent.node.runners) == [coming.metainfo.swarm]

        async with agent.cache.reader(coming.digest) as reader:
            assert runner.priority is Priority.INTERACTIVE
            await origin.put(coming)
            assert await read_all(reader) == coming.data
        await until(lambda: idle(agent))


async def test_what_is_fetched_ahead_needs_no_reader_to_come_to_its_end() -> None:
    blob, origin = a_blob(pieces=3), Seeder()
    async with an_agent(origin, download=DownloadSettings(prefetch=True)) as agent:
        agent.trackers.knows(blob)
        await origin.put(blob)

        agent.cache.prefetch([blob.digest])
        agent.cache.prefetch([blob.digest])

        await until(lambda: any(stored.complete for stored in agent.store.stored()))
        await until(lambda: idle(agent))


async def test_nothing_is_fetched_ahead_unless_the_settings_say_so() -> None:
    blob = a_blob(pieces=3)
    async with an_agent() as agent:
        agent.trackers.knows(blob)
        before = len(agent.tasks)

        agent.cache.prefetch([blob.digest])

        assert len(agent.tasks) == before


async def test_a_range_gets_its_pieces_first() -> None:
    blob, origin = a_blob(pieces=40), Seeder()
    async with an_agent(origin, download=DownloadSettings(finish_fraction=1.0)) as agent:
        agent.trackers.knows(blob)
        await origin.put(blob, {30})

        async with agent.cache.reader(blob.digest, part=True) as reader:
            start = 30 * BLOCK_LENGTH
            ready = await reader.available(start + 5, start + 10)
            assert (ready, await reader.blob.read(start + 5, 5)) == (start + 10, blob.data[start + 5 : start + 10])


@pytest.mark.parametrize(("fraction", "goes_on"), [(0.5, True), (0.51, False)])
async def test_a_download_without_readers_is_finished_when_enough_of_it_is_here(fraction: float, goes_on: bool) -> None:
    blob, origin = a_blob(pieces=4), Seeder()
    async with an_agent(origin, download=DownloadSettings(finish_fraction=fraction)) as agent:
        agent.trackers.knows(blob)
        await origin.put(blob, {0, 1})
        async with agent.cache.reader(blob.digest) as reader:
            await until(lambda: reader.blob.held == 0b11)

        if not goes_on:
            await until(lambda: idle(agent))
        await origin.put(blob)

        if goes_on:
            await until(lambda: idle(agent))
        assert (await agent.store.size(blob.digest) is not None) is goes_on
        stored = next(iter(agent.store.stored()))
        assert stored.complete is goes_on, "what there was is kept"


async def test_a_download_that_gets_nothing_fails_and_the_next_one_may_succeed() -> None:
    blob, origin = a_blob(pieces=2), Seeder()
    async with an_agent(origin, download=DownloadSettings(stall_seconds=0.1)) as agent:
        agent.trackers.knows(blob)
        with pytest.raises(Unavailable, match=r"nothing came for 0\.1 seconds"):
            async with agent.cache.reader(blob.digest) as reader:
                await reader.available(0, 1)
        await until(lambda: idle(agent))

        await origin.put(blob)

        async with agent.cache.reader(blob.digest) as reader:
            assert await read_all(reader) == blob.data


async def test_a_piece_that_rotted_is_fetched_anew_and_the_reader_only_waits() -> None:
    blob, origin = a_blob(pieces=3), Seeder()
    async with an_agent(origin) as agent:
        agent.trackers.knows(blob)
        await origin.put(blob)
        await agent.put(blob)
        with await agent.store.open(blob.digest) as held:
            os.pwrite(held.fd, b"rot", BLOCK_LENGTH)
            os.utime(held.fd)

        async with agent.cache.reader(blob.digest) as reader:
            assert await read_all(reader) == blob.data
            assert [reader.source(PieceIndex(piece)) for piece in range(3)] == ["cache", "origins", "cache"]


async def test_a_blob_that_rots_after_its_download_is_mended_for_the_reader_who_followed_it() -> None:
    blob, origin = a_blob(pieces=3), Seeder()
    async with an_agent(origin) as agent:
        agent.trackers.knows(blob)
        await origin.put(blob)

        async with agent.cache.reader(blob.digest) as reader:
            await reader.available(0, 1)
            await until(lambda: reader.blob.complete and idle(agent))
            os.pwrite(reader.blob.fd, b"rot", BLOCK_LENGTH)
            os.utime(reader.blob.fd)
            assert not await reader.blob.verify(PieceIndex(1))

            assert await read_all(reader) == blob.data


async def test_two_who_meet_the_same_bad_piece_mend_it_once() -> None:
    blob, origin = a_blob(pieces=3), Seeder()
    async with an_agent(origin) as agent:
        agent.trackers.knows(blob)
        await origin.put(blob)
        await agent.put(blob)
        with await agent.store.open(blob.digest) as held:
            os.pwrite(held.fd, b"rot", 0)
            os.utime(held.fd)

        async def read() -> bytes:
            async with agent.cache.reader(blob.digest) as reader:
                return await read_all(reader)

        assert await asyncio.gather(*(read() for _ in range(2))) == [blob.data] * 2
        assert origin.metrics.value("kraken_p2p_bytes_total", direction="out", role="agent") == BLOCK_LENGTH


async def test_a_small_blob_comes_with_its_metainfo_is_asked_for_once_and_then_needs_nobody() -> None:
    small, empty = blob_of(b"{}"), blob_of(b"")
    async with an_agent() as agent:
        for blob in (small, empty):
            agent.trackers.knows(blob, blob.data)
            assert await agent.cache.size(blob.digest) == len(blob.data)
            async with agent.cache.reader(blob.digest) as reader:
                assert await read_all(reader) == blob.data
        assert agent.trackers.asked == 2

        agent.trackers.error = Unavailable("everything is down")
        for blob in (small, empty):
            assert await agent.cache.size(blob.digest) == len(blob.data)
            async with agent.cache.reader(blob.digest) as reader:
                assert await read_all(reader) == blob.data
        with pytest.raises(Unavailable):
            await agent.cache.size(Digest.of(b"unknown"))


async def test_small_blobs_bytes_are_checked() -> None:
    blob = blob_of(b"truth")
    async with an_agent() as agent:
        agent.trackers.knows(blob, b"a lie")

        with pytest.raises(Unavailable):
            async with agent.cache.reader(blob.digest):
                pass
        agent.trackers.knows(blob, blob.data)
        async with agent.cache.reader(blob.digest) as reader:
            assert await read_all(reader) == blob.data


async def test_what_nobody_has_is_not_found_and_what_nobody_can_tell_is_unavailable() -> None:
    unknown = Digest.of(b"nobody pushed this")
    async with an_agent() as agent:
        with pytest.raises(NotFound):
            async with agent.cache.reader(unknown):
                pass
        agent.trackers.error = Unavailable("no tracker answers")
        with pytest.raises(Unavailable):
            async with agent.cache.reader(unknown):
                pass


async def test_eviction_closes_the_swarm_and_says_goodbye_to_it() -> None:
    old, new = a_blob(pieces=2, seed=1), a_blob(pieces=2, seed=2)
    origin = Seeder()
    tight = CacheSettings(max_bytes=old.metainfo.size, low_water=1.0, min_free_bytes=0)
    async with an_agent(origin, cache=tight) as agent:
        for blob in (old, new):
            agent.trackers.knows(blob)
            await origin.put(blob)

        for blob in (old, new):
            async with agent.cache.reader(blob.digest) as reader:
                assert await read_all(reader) == blob.data
            await until(lambda: idle(agent))

        assert [stored.digest for stored in agent.store.stored()] == [new.digest]
        assert old.metainfo.swarm not in agent.node.runners, "a swarm that lingers does not keep its blob"
        await until(lambda: agent.trackers.announces_of(old.metainfo.swarm)[-1].left)
        assert not agent.trackers.announces_of(new.metainfo.swarm)[-1].left


async def test_a_blob_that_does_not_fit_says_what_an_operator_can_do() -> None:
    blob = a_blob(pieces=2)
    async with an_agent(cache=CacheSettings(max_bytes=100, min_free_bytes=0)) as agent:
        agent.trackers.knows(blob)

        with pytest.raises(OutOfSpace, match=r"raise cache\.max_bytes"):
            async with agent.cache.reader(blob.digest):
                pass
        assert agent.cache.pinned == set()


async def test_room_that_is_being_made_for_one_is_not_given_to_another() -> None:
    one, other = a_blob(pieces=2, seed=1), a_blob(pieces=2, seed=2)
    budget = CacheSettings(max_bytes=one.metainfo.size + 1, low_water=1.0, min_free_bytes=0)
    async with an_agent(cache=budget) as agent:
        agent.trackers.knows(one)
        agent.trackers.knows(other)

        async def opened(blob: Blob) -> BlobReader:
            return await agent.cache._open(blob.digest, part=False)

        outcomes = await asyncio.gather(opened(one), opened(other), return_exceptions=True)

        assert agent.store.used_bytes <= budget.max_bytes
        assert any(isinstance(outcome, OutOfSpace) for outcome in outcomes)
        for outcome in outcomes:
            if isinstance(outcome, BlobReader):
                outcome.close()


async def test_a_download_that_is_stopped_before_it_began_gives_everything_back() -> None:
    blob, origin = a_blob(pieces=4), Seeder()
    async with an_agent(origin) as agent:
        agent.trackers.knows(blob)

        reader = await agent.cache._open(blob.digest, part=False)
        reader.close()
        await until(lambda: idle(agent))

        runner = agent.node.runners[blob.metainfo.swarm]
        assert runner.users == 0
        agent.node.close_unused()
        assert not runner.blob.in_use
        await origin.put(blob)
        async with agent.cache.reader(blob.digest) as again:
            assert await read_all(again) == blob.data


async def test_the_end_of_a_stopped_download_does_not_take_back_the_announce_of_the_next() -> None:
    blob, origin = a_blob(pieces=4), Seeder()
    async with an_agent(origin) as agent:
        agent.trackers.knows(blob)
        first = await agent.cache._open(blob.digest, part=False)
        stopped = next(iter(agent.cache._downloads.values()))
        first.close()
        second = await agent.cache._open(blob.digest, part=False)

        agent.cache._announce_what_is_left(stopped)  # held up by a job in a thread until now

        await until(lambda: len(agent.cache._running) == 1)
        await until(lambda: bool(agent.trackers.announces_of(blob.metainfo.swarm)))
        entry = agent.announcing._schedule._entries[blob.metainfo.swarm]
        assert entry.wanted
        second.close()


async def test_a_full_disk_fails_the_download_but_not_the_one_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    blob, origin = a_blob(pieces=2), Seeder()
    async with an_agent(origin) as agent:
        agent.trackers.knows(blob)
        await origin.put(blob)
        with monkeypatch.context() as disk:
            disk.setattr("kraken.storage.io.blob_file.pwrite_all", _no_space)
            with pytest.raises(OutOfSpace):
                async with agent.cache.reader(blob.digest) as reader:
                    await read_all(reader)
        await until(lambda: idle(agent))

        async with agent.cache.reader(blob.digest) as reader:
            assert await read_all(reader) == blob.data


def _no_space(_fd: int, _data: object, _offset: int) -> None:
    raise OSError(28, "No space left on device")


async def test_everything_that_is_here_is_announced_at_a_start_in_one_announce() -> None:
    blobs = [blob_of(bytes([number])) for number in range(50)]
    async with an_agent() as agent:
        for blob in blobs:
            await agent.put(blob)

        agent.cache.announce_all()

        await until(lambda: len(agent.trackers.announced) == 50)
        assert {each.swarm for each in agent.trackers.announced} == {blob.metainfo.swarm for blob in blobs}
        assert all(each.complete and each.want == 0 for each in agent.trackers.announced)
        assert agent.metrics.value("kraken_announces_total", result="ok") == 1
