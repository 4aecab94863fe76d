"""Announces as bytes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.core.errors import Invalid
from kraken.core.peers import Role
from kraken.tracker.messages import (
    MAX_ANNOUNCE_BYTES,
    MAX_SWARMS,
    AnnounceReply,
    AnnounceRequest,
    PeerEntry,
    SwarmAnnounce,
    SwarmPeers,
    decode_peer,
    decode_reply,
    decode_request,
    encode,
    joined_entry,
    joined_reply,
)

PEER_ID = b"-KR0100-abcdefghijkl"
SWARM = b"s" * 20
DIGEST = "sha256:" + "0" * 64

peer_ids = st.binary(min_size=20, max_size=20)
announces = st.builds(
    SwarmAnnounce,
    digest=st.just(DIGEST),
    swarm=st.binary(min_size=20, max_size=20),
    want=st.integers(0, 200),
    complete=st.booleans(),
    left=st.booleans(),
)
requests = st.builds(
    AnnounceRequest,
    peer_id=peer_ids,
    host=st.none() | st.just("10.0.0.1"),
    port=st.integers(1, 65535),
    role=st.sampled_from(Role),
    zone=st.text(max_size=64),
    swarms=st.lists(announces, max_size=5),
)
entries = st.builds(
    PeerEntry, peer_id=peer_ids, host=st.just("10.0.0.1"), port=st.integers(1, 65535), role=st.just("agent")
)
replies = st.builds(
    AnnounceReply,
    interval=st.floats(0.5, 1000),
    swarms=st.lists(
        st.builds(SwarmPeers, swarm=st.just(SWARM), peers=st.lists(entries, max_size=5), crowd=st.integers(0, 2**32)),
        max_size=5,
    ),
)


@given(requests)
def test_a_request_reads_as_it_was_written(request_: AnnounceRequest) -> None:
    for _ in range(2):  # the second is remembered
        peer_id, said = decode_request(encode(request_))
        assert peer_id == request_.peer_id
        assert (said.host, said.port, said.role) == (request_.host, request_.port, request_.role)
        assert (said.zone, said.swarms) == (request_.zone, request_.swarms)


@given(requests)
def test_an_entry_that_is_joined_reads_like_one_that_was_encoded_whole(request_: AnnounceRequest) -> None:
    peer_id, said = decode_request(encode(request_))
    whole = PeerEntry(request_.peer_id, "10.0.0.1", request_.port, request_.role.value)

    assert joined_entry(peer_id, encode("10.0.0.1"), said) == encode(whole)


def test_those_who_say_the_same_are_read_once_and_longer_announces_each_time() -> None:
    (one, said), (other, again) = (decode_request(a_request(peer_id=bytes([number]) * 20)) for number in (1, 2))
    assert (one, other) == (b"\x01" * 20, b"\x02" * 20)
    assert again is said

    many = a_request(swarms=[[DIGEST, SWARM, 1, False, False]] * 5)
    (one, said), (other, again) = decode_request(many), decode_request(many)
    assert (one, said.swarms) == (other, again.swarms) == (PEER_ID, [SwarmAnnounce(DIGEST, SWARM, 1)] * 5)
    assert again is not said


@given(replies)
def test_a_reply_reads_as_it_was_written(reply: AnnounceReply) -> None:
    assert decode_reply(encode(reply)) == reply


@pytest.mark.parametrize("swarm_count", [0, 1, 15, 16, 300])
@pytest.mark.parametrize("peer_count", [0, 1, 15, 16, 22, 200])
@pytest.mark.parametrize("crowd", [0, 127, 128, 65_536, 2_000_000])
def test_a_reply_that_is_joined_reads_like_one_that_was_encoded_whole(
    swarm_count: int, peer_count: int, crowd: int
) -> None:
    peers = [PeerEntry(bytes([number]) * 20, f"10.0.0.{number}", 1 + number, "agent") for number in range(peer_count)]
    ids = [number.to_bytes(20, "big") for number in range(swarm_count)]
    whole = AnnounceReply(12.5, [SwarmPeers(swarm, peers, crowd) for swarm in ids])

    assert joined_reply(12.5, [(swarm, list(map(encode, peers)), crowd) for swarm in ids]) == encode(whole)


def test_a_tracker_that_does_not_tell_the_crowd_is_understood() -> None:
    peer = [PEER_ID, "10.0.0.1", 1, "agent"]

    reply = decode_reply(msgspec.msgpack.encode([12.5, [[SWARM, [peer]]]]))

    assert reply.swarms == [SwarmPeers(SWARM, [PeerEntry(PEER_ID, "10.0.0.1", 1, "agent")], crowd=0)]


def test_what_a_newer_tracker_says_besides_is_passed_over_as_agents_that_know_of_no_crowd_do() -> None:
    newer = [12.5, [[SWARM, [], 300, "more"]], "and more"]

    assert decode_reply(msgspec.msgpack.encode(newer)).swarms == [SwarmPeers(SWARM, [], 300)]
    assert msgspec.msgpack.decode(joined_reply(12.5, [(SWARM, [], 300)]), type=_AnswerBefore).swarms == [
        _PeersBefore(SWARM, [])
    ]


class _PeersBefore(msgspec.Struct, array_like=True):
    """A swarm of an answer as agents knew it that had not heard of crowds."""

    swarm: bytes
    peers: list[PeerEntry]


class _AnswerBefore(msgspec.Struct, array_like=True):
    interval: float
    swarms: list[_PeersBefore]


@pytest.mark.parametrize("crowd", [-1, "many", 1.5, None])
def test_a_crowd_is_a_number_of_peers(crowd: object) -> None:
    with pytest.raises(Invalid):
        decode_reply(msgspec.msgpack.encode([12.5, [[SWARM, [], crowd]]]))


@given(entries)
def test_a_peer_reads_as_it_was_written(entry: PeerEntry) -> None:
    assert decode_peer(encode(entry)) == entry


@given(st.binary(max_size=200))
def test_any_bytes_give_a_message_or_our_error(data: bytes) -> None:
    for decode in (decode_request, decode_reply):
        with pytest.raises(Invalid):
            decode(data)


def a_request(**changed: object) -> bytes:
    fields: dict[str, object] = {
        "peer_id": PEER_ID,
        "host": None,
        "port": 1,
        "role": "agent",
        "zone": "",
        "swarms": [[DIGEST, SWARM, 1, False, False]],
    }
    return msgspec.msgpack.encode(list({**fields, **changed}.values()))


def test_the_builder_of_these_tests_makes_a_valid_request() -> None:
    assert decode_request(a_request())[1].swarms == [SwarmAnnounce(DIGEST, SWARM, 1)]


@pytest.mark.parametrize(
    "changed",
    [
        {"peer_id": PEER_ID[:-1]},
        {"peer_id": PEER_ID + b"x"},
        {"port": 0},
        {"port": 65536},
        {"host": ""},
        {"host": "x" * 256},
        {"zone": "x" * 65},
        {"role": "king"},
        {"swarms": [[DIGEST, SWARM[:-1]]]},
        {"swarms": [[DIGEST, SWARM, -1]]},
        {"swarms": [[DIGEST, SWARM, 201]]},
        {"swarms": [["x" * 141, SWARM]]},
        {"swarms": [[DIGEST, SWARM]] * (MAX_SWARMS + 1)},
    ],
)
def test_every_length_and_number_has_its_limits(changed: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        decode_request(a_request(**changed))


def test_an_announce_beyond_the_limit_is_not_even_looked_at() -> None:
    with pytest.raises(Invalid, match="the limit"):
        decode_request(b"\x00" * (MAX_ANNOUNCE_BYTES + 1))
