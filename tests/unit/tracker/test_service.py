"""The tracker's desk, its relay of metainfo, and where peers are said to be."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from tests.helpers.blobs import Blob, a_blob, blob_of
from tests.helpers.components import reachable

from kraken.cluster.hosts import NodeCard
from kraken.core.digest import Digest
from kraken.core.errors import Invalid, KrakenError, NotFound, Unavailable
from kraken.core.metainfo import Metainfo
from kraken.core.peers import Address, Role
from kraken.observability.metrics import Metrics
from kraken.runtime.clock import SystemClock
from kraken.tracker.messages import AnnounceRequest, SwarmAnnounce, decode_reply, decode_request, encode
from kraken.tracker.service import AnnounceDesk, MetainfoRelay, TrackerService, peer_table
from kraken.tracker.settings import AnnounceSettings

SWARM = b"s" * 20
DIGEST = str(Digest.of(b"x"))


class CountingSource:
    """Metainfo of some blobs, handed out when the test says so."""

    def __init__(self, *blobs: Blob) -> None:
        self.blobs = {blob.digest: blob for blob in blobs}
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.was_asked = asyncio.Event()
        self.failure: KrakenError | None = None

    async def metainfo(self, digest: Digest) -> tuple[Metainfo, bytes | None]:
        self.asked += 1
        self.was_asked.set()
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        if digest not in self.blobs:
            raise NotFound("nobody has it")
        blob = self.blobs[digest]
        return blob.metainfo, blob.data if len(blob.data) < 100 else None


def a_relay(source: CountingSource, cache_bytes: int = 2**20) -> MetainfoRelay:
    return MetainfoRelay(source, cache_bytes, Metrics("tracker", "test"))


async def test_metainfo_is_asked_for_once_and_kept() -> None:
    blob = blob_of(b"small")
    source = CountingSource(blob)
    relay = a_relay(source)

    for _ in range(2):
        assert await relay.get(blob.digest) == (blob.metainfo.encode(), b"small")
    assert source.asked == 1


async def test_those_who_ask_at_once_cause_one_question_and_the_first_may_leave() -> None:
    blob = a_blob()
    source = CountingSource(blob)
    source.gate.clear()
    relay = a_relay(source)
    asking = [asyncio.create_task(relay.get(blob.digest)) for _ in range(5)]
    await source.was_asked.wait()

    asking[0].cancel()
    source.gate.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)

    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [(blob.metainfo.encode(), None)] * 4
    assert source.asked == 1


@pytest.mark.parametrize("failure", [NotFound("no"), Unavailable("later")])
async def test_a_failure_reaches_everybody_and_is_not_kept(failure: KrakenError) -> None:
    blob = a_blob()
    source = CountingSource(blob)
    source.failure = failure
    relay = a_relay(source)
    answers = await asyncio.gather(*(relay.get(blob.digest) for _ in range(3)), return_exceptions=True)
    assert answers == [failure] * 3

    source.failure = None

    assert (await relay.get(blob.digest))[0] == blob.metainfo.encode()


async def test_the_cache_lets_the_longest_unused_go() -> None:
    blobs = [blob_of(bytes([number])) for number in range(3)]
    source = CountingSource(*blobs)
    relay = a_relay(source, cache_bytes=2 * 700)
    for number in (0, 1, 0, 2):
        await relay.get(blobs[number].digest)
    assert source.asked == 3

    await relay.get(blobs[0].digest)
    assert source.asked == 3
    await relay.get(blobs[1].digest)
    assert source.asked == 4


async def a_reply(remote: str, *, trust: bool = False, host: str | None = None, digest: str = DIGEST) -> str:
    """The host under which a second peer hears of the first one."""
    settings = AnnounceSettings(hold_seconds=0, trust_announced_host=trust)
    desk = AnnounceDesk(peer_table(settings), SystemClock(), Metrics("tracker", "test"))
    async with reachable("origin", [Address("127.0.0.1", 1)]) as (_, members):
        service = TrackerService(desk, members, 3, settings)
        try:
            first = AnnounceRequest(b"1" * 20, host, 6000, Role.AGENT, "", [SwarmAnnounce(digest, SWARM, 5)])
            second = AnnounceRequest(b"2" * 20, None, 6000, Role.AGENT, "", [SwarmAnnounce(DIGEST, SWARM, 5)])
            replies: list[bytes] = []
            service.announce(*decode_request(encode(first)), remote, replies.append)
            service.announce(*decode_request(encode(second)), "10.0.0.2", replies.append)
        finally:
            desk.close()
    return decode_reply(replies[1]).swarms[0].peers[0].host


@pytest.mark.parametrize(
    ("remote", "host"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fd00::1", "[fd00::1]"),
        ("fe80::1%eth0", "[fe80::1]"),
    ],
)
async def test_a_peer_is_where_its_connection_comes_from(remote: str, host: str) -> None:
    assert await a_reply(remote, host="10.66.66.66") == host


async def test_the_announced_host_counts_only_where_it_is_trusted() -> None:
    assert await a_reply("10.0.0.1", host="10.66.66.66", trust=True) == "10.66.66.66"
    assert await a_reply("10.0.0.1", host=None, trust=True) == "10.0.0.1"


async def test_what_is_malformed_in_an_announce_is_refused() -> None:
    for announce in (
        a_reply("10.0.0.1", digest="sha256:0"),
        a_reply("10.0.0.1", host="a b", trust=True),
    ):
        with pytest.raises(Invalid):
            await announce


async def test_origins_that_are_no_more_are_named_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kraken.tracker.service._OWNERS_SECONDS", 0.0)
    address = Address("10.9.0.1", 5000)
    settings = AnnounceSettings(hold_seconds=0)
    desk = AnnounceDesk(peer_table(settings), SystemClock(), Metrics("tracker", "test"))
    announce = encode(AnnounceRequest(b"1" * 20, None, 6000, Role.AGENT, "", [SwarmAnnounce(DIGEST, SWARM, 5)]))
    replies: list[bytes] = []
    async with reachable("origin", [address]) as (_, members):
        members._cards[address] = NodeCard("origin", "origin-1", "0.0.0.0:5302", "6f" * 20)
        service = TrackerService(desk, members, 3, settings)
        service.announce(*decode_request(announce), "10.0.0.1", replies.append)
        members._cards.clear()
        service.announce(*decode_request(announce), "10.0.0.1", replies.append)
        await asyncio.sleep(0.001)  # the moment is over
        service.announce(*decode_request(announce), "10.0.0.1", replies.append)
        desk.close()

    assert [len(decode_reply(reply).swarms[0].peers) for reply in replies] == [1, 1, 0]


class Crowd:
    """Three peers that announce themselves; `answered` is set when all of them have their answer."""

    def __init__(self, swarm: bytes) -> None:
        self.swarm = swarm
        self.replies: dict[int, bytes] = {}
        self.answered = asyncio.Event()

    def announce(self, service: TrackerService) -> None:
        swarms = [SwarmAnnounce(DIGEST, self.swarm, 5)]
        for number in range(3):
            request = AnnounceRequest(bytes([number]) * 20, None, 6000, Role.AGENT, "", swarms)
            service.announce(*decode_request(encode(request)), f"10.0.0.{number}", partial(self._take, number))

    def heard(self, number: int) -> set[str]:
        """The hosts that a peer heard of."""
        return {peer.host for peer in decode_reply(self.replies[number]).swarms[0].peers}

    def _take(self, number: int, reply: bytes) -> None:
        self.replies[number] = reply
        if len(self.replies) == 3:
            self.answered.set()


async def test_a_crowd_is_answered_together_and_its_origins_are_ranked_once() -> None:
    address = Address("10.9.0.1", 5000)
    settings = AnnounceSettings(hold_seconds=0.1)
    desk = AnnounceDesk(peer_table(settings), SystemClock(), Metrics("tracker", "test"))
    async with reachable("origin", [address]) as (_, members):
        members._cards[address] = NodeCard("origin", "origin-1", "0.0.0.0:5302", "6f" * 20)
        ranked: list[str] = []
        owners = members.owners

        def counting(key: str, replicas: int | None = None) -> list[Address]:
            ranked.append(key)
            return owners(key, replicas)

        members.owners = counting  # type: ignore[method-assign]
        service = TrackerService(desk, members, 3, settings)
        first, second = Crowd(SWARM), Crowd(b"t" * 20)
        first.announce(service)
        assert first.replies == {}  # the swarm is young
        await first.answered.wait()
        assert ranked == [DIGEST]
        second.announce(service)
        await second.answered.wait()
        desk.close()

    everybody = {"10.0.0.0", "10.0.0.1", "10.0.0.2", "10.9.0.1"}
    for crowd in (first, second):
        assert [crowd.heard(number) for number in range(3)] == [everybody - {f"10.0.0.{number}"} for number in range(3)]
