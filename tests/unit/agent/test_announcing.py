"""What trackers are told, and what becomes of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from tests.unit.agent.site import until

from kraken.agent.announcing import PEERS_WANTED, Announcing
from kraken.core.digest import Digest
from kraken.core.errors import KrakenError, NotFound, Unavailable
from kraken.core.metainfo import SwarmId
from kraken.core.peers import Address, PeerId, Role
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.p2p.dialing import Candidate
from kraken.p2p.events import PeersOffered
from kraken.runtime.tasks import Tasks
from kraken.tracker.client import Announced, Announcer
from kraken.tracker.messages import PeerEntry, SwarmAnnounce, SwarmPeers

ME = Announcer(PeerId(b"m" * 20), None, 7000, Role.AGENT)
ONE, TWO = SwarmId(b"1" * 20), SwarmId(b"2" * 20)
DIGEST = Digest.of(b"one")


class HeldTrackers:
    """Every announce waits until the test answers it."""

    def __init__(self) -> None:
        self.open: list[tuple[list[SwarmAnnounce], asyncio.Future[Announced]]] = []

    async def announce(self, announcer: Announcer, swarms: Sequence[SwarmAnnounce]) -> Announced:
        assert announcer == ME
        answer: asyncio.Future[Announced] = asyncio.get_running_loop().create_future()
        self.open.append((list(swarms), answer))
        return await answer

    async def next(self) -> tuple[list[SwarmAnnounce], asyncio.Future[Announced]]:
        """The next announce that is made, and where its answer goes."""
        await until(lambda: bool(self.open))
        return self.open.pop(0)


class Scene:
    def __init__(self) -> None:
        self.trackers = HeldTrackers()
        self.metrics = Metrics("agent", "test")
        log = get_logger("agent", "test")
        self.tasks = Tasks(log, self.metrics)
        self.offered: list[tuple[SwarmId, PeersOffered]] = []
        self.announcing = Announcing(
            self.trackers, lambda swarm, offered: self.offered.append((swarm, offered)), self.tasks, log, self.metrics
        )


@asynccontextmanager
async def a_scene() -> AsyncIterator[Scene]:
    """An agent that has begun to announce."""
    scene = Scene()
    scene.announcing.start(ME)
    try:
        async with asyncio.timeout(20):
            yield scene
    finally:
        await scene.tasks.close()


def answer_to(swarms: Sequence[SwarmAnnounce], *peers: PeerEntry) -> Announced:
    return Announced(600.0, tuple(SwarmPeers(each.swarm, list(peers), crowd=7) for each in swarms), ())


async def test_a_wanted_swarm_asks_for_peers_and_hears_of_those_that_can_be_dialled_and_of_the_crowd() -> None:
    async with a_scene() as scene:
        scene.announcing.opened(ONE, DIGEST, wanted=True, complete=False)
        swarms, answer = await scene.trackers.next()
        assert swarms == [SwarmAnnounce(str(DIGEST), ONE, PEERS_WANTED)]

        good = PeerEntry(b"p" * 20, "10.0.0.1", 7001, "origin")
        answer.set_result(
            answer_to(swarms, good, PeerEntry(b"q" * 20, "not a host", 1, "agent"), PeerEntry(b"r" * 20, "h", 1, "x"))
        )

        await until(lambda: bool(scene.offered))
        origin = Candidate(Address("10.0.0.1", 7001), Role.ORIGIN, PeerId(b"p" * 20))
        assert scene.offered == [(ONE, PeersOffered((origin,), crowd=7))]
        assert scene.metrics.value("kraken_announces_total", result="ok") == 1


async def test_a_blob_that_became_complete_is_announced_as_such_and_asks_for_nobody() -> None:
    async with a_scene() as scene:
        scene.announcing.opened(ONE, DIGEST, wanted=True, complete=False)
        swarms, answer = await scene.trackers.next()
        answer.set_result(answer_to(swarms))

        scene.announcing.completed(ONE)

        assert (await scene.trackers.next())[0] == [SwarmAnnounce(str(DIGEST), ONE, 0, complete=True)]


async def test_a_swarm_that_is_left_and_opened_again_at_once_is_announced() -> None:
    async with a_scene() as scene:
        scene.announcing.opened(ONE, DIGEST, wanted=False, complete=True)
        swarms, answer = await scene.trackers.next()
        answer.set_result(answer_to(swarms))
        scene.announcing.closed(ONE)
        await until(lambda: scene.announcing._schedule.next_deadline() is None)  # the goodbye is ordered, not yet sent

        scene.announcing.opened(ONE, DIGEST, wanted=True, complete=False)

        first, second = (await scene.trackers.next())[0], (await scene.trackers.next())[0]
        assert first == [SwarmAnnounce(str(DIGEST), ONE, 0, complete=True, left=True)]
        assert second == [SwarmAnnounce(str(DIGEST), ONE, PEERS_WANTED)]


async def test_a_goodbye_is_said_although_an_announce_was_under_way() -> None:
    async with a_scene() as scene:
        scene.announcing.opened(ONE, DIGEST, wanted=True, complete=False)
        swarms, answer = await scene.trackers.next()

        scene.announcing.closed(ONE)
        answer.set_result(answer_to(swarms))

        assert (await scene.trackers.next())[0] == [SwarmAnnounce(str(DIGEST), ONE, left=True)]
        assert scene.announcing._digests == {}
        assert scene.announcing._schedule.next_deadline() is None


@pytest.mark.parametrize("error", [Unavailable("no tracker answers"), NotFound("there is no such page")])
async def test_whatever_goes_wrong_an_announce_is_made_again(error: KrakenError) -> None:
    async with a_scene() as scene:
        scene.announcing.opened(ONE, DIGEST, wanted=True, complete=False)
        swarms, answer = await scene.trackers.next()

        answer.set_exception(error)

        assert (await scene.trackers.next())[0] == swarms
        assert scene.metrics.value("kraken_announces_total", result="failed") == 1


async def test_the_swarms_that_no_tracker_was_told_of_are_announced_again() -> None:
    async with a_scene() as scene:
        scene.announcing.opened(ONE, DIGEST, wanted=False, complete=True)
        scene.announcing.opened(TWO, Digest.of(b"two"), wanted=False, complete=True)
        swarms, answer = await scene.trackers.next()
        assert len(swarms) == 2

        answer.set_result(Announced(600.0, (SwarmPeers(ONE, []),), (TWO,)))

        assert [each.swarm for each in (await scene.trackers.next())[0]] == [TWO]


async def test_goodbye_takes_everything_off_the_lists_and_nothing_puts_it_back() -> None:
    async with a_scene() as scene:
        scene.announcing.opened(ONE, DIGEST, wanted=False, complete=True)
        swarms, answer = await scene.trackers.next()
        answer.set_result(answer_to(swarms))

        saying = asyncio.create_task(scene.announcing.say_goodbye(5.0))
        leaving, answer = await scene.trackers.next()
        assert leaving == [SwarmAnnounce(str(DIGEST), ONE, left=True)]
        answer.set_result(answer_to(leaving))
        await saying
        scene.announcing.opened(ONE, DIGEST, wanted=True, complete=False)
        await until(lambda: len(scene.tasks) == 1)  # the loop alone

        assert scene.trackers.open == []


async def test_goodbye_gives_up_when_trackers_fail_or_say_nothing() -> None:
    async with a_scene() as scene:
        scene.announcing.opened(ONE, DIGEST, wanted=False, complete=True)
        (await scene.trackers.next())[1].set_exception(NotFound("no such page"))
        await scene.announcing.say_goodbye(0.01)


async def test_nothing_is_lost_that_was_opened_before_the_start() -> None:
    scene = Scene()
    scene.announcing.opened(ONE, DIGEST, wanted=True, complete=False)
    await until(lambda: not len(scene.tasks))

    scene.announcing.start(ME)

    try:
        async with asyncio.timeout(20):
            assert [each.swarm for each in (await scene.trackers.next())[0]] == [ONE]
    finally:
        await scene.tasks.close()
