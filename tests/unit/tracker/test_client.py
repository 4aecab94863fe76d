"""Trackers over HTTP, and the client that chooses among them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from tests.helpers.blobs import a_blob
from tests.helpers.components import Running, http_session, reachable, running, small_cluster
from tests.helpers.ports import free_address
from tests.helpers.pushing import push_blob

from kraken.cluster.hashring import rank
from kraken.cluster.settings import ClusterSettings
from kraken.core.digest import Digest
from kraken.core.errors import Invalid, NotFound, Rejected, Unavailable
from kraken.core.metainfo import swarm_id
from kraken.core.peers import Address, Role, peer_id
from kraken.core.pieces import piece_length_for
from kraken.runtime.web import HttpSettings
from kraken.tracker.app import Tracker
from kraken.tracker.client import Announcer, TrackerClient
from kraken.tracker.http import TrackerRoutes
from kraken.tracker.live_view import SwarmsView, SwarmView
from kraken.tracker.messages import MAX_ANNOUNCE_BYTES, AnnounceRequest, SwarmAnnounce, decode_reply, encode
from kraken.tracker.settings import AnnounceSettings, TrackerSettings

ANNA = Announcer(peer_id(b"anna" * 3), None, 7001, Role.AGENT)
BERT = Announcer(peer_id(b"bert" * 3), "10.9.9.9", 7002, Role.AGENT)


def a_tracker(address: Address) -> Tracker:
    settings = TrackerSettings(
        name="tracker",
        http=HttpSettings(listen=address),
        cluster=ClusterSettings(origins=(Address("127.0.0.1", 1),)),
        announce=AnnounceSettings(hold_seconds=0),
    )
    return Tracker(settings)


@asynccontextmanager
async def two_trackers() -> AsyncIterator[tuple[dict[Address, Tracker], TrackerClient, Running]]:
    trackers = {address: a_tracker(address) for address in (free_address(), free_address())}
    async with running(*trackers.values()) as alive, reachable("tracker", list(trackers)) as (http, members):
        yield trackers, TrackerClient(http, members), alive


def a_swarm(text: str, want: int = 10) -> SwarmAnnounce:
    digest = Digest.of(text.encode())
    return SwarmAnnounce(str(digest), swarm_id(digest, 5, piece_length_for(5)), want)


async def test_peers_meet_over_any_number_of_swarms_and_trackers() -> None:
    swarms = [a_swarm(str(number)) for number in range(600)]
    async with two_trackers() as (trackers, client, _):
        await client.announce(ANNA, swarms)
        found = await client.announce(BERT, swarms)

        assert [it.swarm for it in found.swarms] == [it.swarm for it in swarms]
        handed = [(peer.peer_id, peer.host, peer.port) for it in found.swarms for peer in it.peers]
        assert handed == [(ANNA.peer_id, "127.0.0.1", 7001)] * 600
        assert found.unreached == ()
        assert found.interval == 10.0
        assert all(tracker.metrics.value("kraken_tracker_swarms") > 200 for tracker in trackers.values())
        assert sum(tracker.metrics.value("kraken_tracker_peers") for tracker in trackers.values()) == 1200


async def test_when_a_tracker_is_gone_everybody_goes_to_the_next() -> None:
    swarm = a_swarm("x")
    async with two_trackers() as (trackers, client, alive):
        await alive.stop(trackers[rank(swarm.digest, trackers)[0]])
        await client.announce(ANNA, [swarm])
        found = await client.announce(BERT, [swarm])

        assert [peer.peer_id for peer in found.swarms[0].peers] == [ANNA.peer_id]


async def test_without_any_tracker_an_announce_is_unavailable() -> None:
    async with reachable("tracker", [free_address(), free_address()]) as (http, members):
        with pytest.raises(Unavailable):
            await TrackerClient(http, members).announce(ANNA, [a_swarm("x")])
    async with reachable("tracker", []) as (http, members):
        with pytest.raises(Unavailable):
            await TrackerClient(http, members).metainfo(Digest.of(b"x"))


async def test_an_announce_that_is_none_is_refused() -> None:
    async with two_trackers() as (trackers, _, _), reachable("tracker", list(trackers)) as (http, _):
        for body in (b"", b"rubbish", b"\x00" * (MAX_ANNOUNCE_BYTES + 1)):
            with pytest.raises((Invalid, Rejected)):
                await http.bytes("POST", next(iter(trackers)), "/announce", data=body)


async def test_announces_of_agents_take_the_express_lane_whatever_else_the_connection_carries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def slow_lane(*_: object) -> web.StreamResponse:
        raise AssertionError("an announce went through aiohttp")

    monkeypatch.setattr(TrackerRoutes, "_announce", slow_lane)
    swarms = [a_swarm(str(number)) for number in range(600)]
    async with two_trackers() as (trackers, client, _):
        for _ in range(3):
            found = await client.announce(ANNA, swarms)
            with pytest.raises(Unavailable):
                await client.metainfo(Digest.of(b"x"))

        assert len(found.swarms) == 600
        assert sum(tracker.metrics.value("kraken_announces_total", result="ok") for tracker in trackers.values()) >= 9


async def test_an_announce_in_an_unusual_form_is_answered_as_well() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield encode(AnnounceRequest(ANNA.peer_id, None, 7001, Role.AGENT, "", [a_swarm("x")]))

    async with two_trackers() as (trackers, _, _), reachable("tracker", list(trackers)) as (http, _):
        answer = decode_reply(await http.bytes("POST", next(iter(trackers)), "/announce", data=chunks()))

    assert [it.peers for it in answer.swarms] == [[]]


async def test_the_swarms_are_told_as_data() -> None:
    async with two_trackers() as (trackers, client, _), reachable("tracker", list(trackers)) as (http, _):
        swarm = a_swarm("x")
        await client.announce(ANNA, [swarm])
        await client.announce(replace(BERT, zone="east"), [SwarmAnnounce(swarm.digest, swarm.swarm, complete=True)])
        at = rank(swarm.digest, trackers)[0]
        overview = await http.json("GET", at, "/swarms", into=SwarmsView)
        view = await http.json("GET", at, f"/swarms/{swarm.swarm.hex()}", into=SwarmView)
        short = await http.json("GET", at, f"/swarms/{swarm.swarm.hex()}", params={"limit": 1}, into=SwarmView)

        assert (overview.swarm_count, overview.peer_count) == (1, 2)
        assert [(line.swarm, line.digest) for line in overview.swarms] == [(swarm.swarm.hex(), swarm.digest)]
        assert {(peer.port, peer.zone, peer.complete) for peer in view.peers} == {
            (7001, "", False),
            (7002, "east", True),
        }
        assert (view.complete, view.incomplete, len(short.peers)) == (1, 1, 1)
        with pytest.raises(NotFound):
            await http.bytes("GET", at, "/swarms/" + "0" * 40)
        for path, params in (("/swarms/xyz", {}), ("/swarms/00", {}), ("/swarms", {"limit": "-1"})):
            with pytest.raises(Rejected):
                await http.bytes("GET", at, path, params=params)


async def test_metainfo_is_relayed_and_small_blobs_come_with_it(tmp_path: Path) -> None:
    large, small = a_blob(2), a_blob(1, tail=10)
    async with small_cluster(tmp_path) as cluster, http_session(cluster.proxy.http) as session:
        for blob in (large, small):
            await push_blob(session, "a", blob.data)
        async with reachable("tracker", [cluster.tracker.http]) as (http, members):
            client = TrackerClient(http, members)

            assert await client.metainfo(large.digest) == (large.metainfo, None)
            assert await client.metainfo(small.digest) == (small.metainfo, small.data)
            assert await client.metainfo(small.digest) == (small.metainfo, small.data)
            with pytest.raises(NotFound):
                await client.metainfo(Digest.of(b"nobody has this"))
            assert cluster.tracker.metrics.value("kraken_tracker_metainfo_total", source="cache") == 1


async def test_metainfo_is_unavailable_and_not_missing_when_no_origin_answers() -> None:
    async with two_trackers() as (_, client, _):
        with pytest.raises(Unavailable):
            await client.metainfo(Digest.of(b"x"))
