"""The tracker's table: whom it introduces to whom."""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kraken.core.peers import Role
from kraken.tracker.messages import AnnounceReply, PeerEntry, SwarmAnnounce, decode_reply, encode
from kraken.tracker.peer_table import AnnounceArrived, PeerTable, SendReply, Tick, origin_choices
from kraken.tracker.settings import AnnounceSettings

DIGEST = "sha256:" + "0" * 64
SWARM = b"s" * 20
OTHER = b"t" * 20
AT_ONCE = AnnounceSettings(hold_seconds=0.0)


def peer(number: int, role: Role = Role.AGENT, host: str | None = None) -> PeerEntry:
    return PeerEntry(number.to_bytes(20, "big"), host or f"10.0.0.{number % 250}", 6000 + number, role.value)


ORIGINS = tuple(peer(900 + number, Role.ORIGIN) for number in range(3))


def a_table(settings_: AnnounceSettings = AT_ONCE, seed: int = 1) -> PeerTable[int]:
    return PeerTable(settings_, random.Random(seed))


def announced(who: PeerEntry, *swarms: SwarmAnnounce, ticket: int = 0) -> AnnounceArrived[int]:
    origins = origin_choices(tuple(map(encode, ORIGINS)), AT_ONCE.origins)
    return AnnounceArrived(ticket, encode(who), Role(who.role), "", [(swarm, origins) for swarm in swarms])


def wanting(want: int = 20, swarm: bytes = SWARM) -> SwarmAnnounce:
    return SwarmAnnounce(DIGEST, swarm, want)


def reply_to(table: PeerTable[int], who: PeerEntry, *swarms: SwarmAnnounce, now: float = 0.0) -> AnnounceReply:
    actions = table.handle(announced(who, *swarms), now)
    assert len(actions) == 1
    return decode_reply(actions[0].reply)


def handed_to(table: PeerTable[int], who: PeerEntry, now: float = 0.0, want: int = 20) -> list[PeerEntry]:
    return reply_to(table, who, wanting(want), now=now).swarms[0].peers


def agents(peers: list[PeerEntry]) -> set[PeerEntry]:
    return {entry for entry in peers if entry.role == Role.AGENT.value}


def test_the_first_peer_of_a_swarm_hears_of_two_origins() -> None:
    peers = handed_to(a_table(), peer(1))

    assert len(peers) == 2
    assert set(peers) < set(ORIGINS)


def test_peers_of_a_swarm_hear_of_each_other_and_not_of_other_swarms() -> None:
    table = a_table()
    reply_to(table, peer(1), wanting())
    reply_to(table, peer(2), wanting(swarm=OTHER))

    assert agents(handed_to(table, peer(3))) == {peer(1)}


def test_never_more_peers_are_handed_out_than_wanted_and_than_allowed() -> None:
    table = a_table()
    for number in range(60):
        reply_to(table, peer(number), wanting())

    assert len(agents(handed_to(table, peer(100), want=200))) == 20
    assert len(agents(handed_to(table, peer(100), want=7))) == 7
    assert handed_to(table, peer(100), want=0) == []


def test_a_crowd_is_those_who_do_not_have_the_blob_whoever_asks() -> None:
    table = a_table()

    def crowd_told(who: int, *, want: int = 20, complete: bool = False, left: bool = False, now: float = 0.0) -> int:
        said = SwarmAnnounce(DIGEST, SWARM, want, complete, left)
        return reply_to(table, peer(who), said, now=now).swarms[0].crowd

    assert [crowd_told(number) for number in (1, 2, 3)] == [1, 2, 3]
    assert crowd_told(1) == 3
    assert crowd_told(4, want=0, complete=True) == 3
    assert crowd_told(1, want=0, complete=True) == 2
    assert crowd_told(2, left=True) == 1
    assert crowd_told(1, want=0) == 2, "a piece of it was lost"
    assert crowd_told(5, now=1000.0) == 1, "the others have been silent for too long"
    assert crowd_told(5, left=True, now=1000.0) == 0


def test_everybody_is_handed_out_about_equally_often() -> None:
    table = a_table()
    for number in range(40):
        reply_to(table, peer(number), wanting(0))
    counts = dict.fromkeys(range(40), 0)
    for _ in range(500):
        for entry in agents(handed_to(table, peer(39), want=5)) - {peer(39)}:
            counts[entry.port - 6000] += 1

    assert min(counts[number] for number in range(39)) > 30


def test_who_joins_hears_of_some_who_joined_with_it_and_who_asks_again_of_random_peers() -> None:
    table, near = a_table(), dict.fromkeys((1, 2), 0)
    for number in range(1600):
        reply_to(table, peer(number), wanting())
    for number in range(1600, 1700):
        newest = {peer(number - back) for back in range(1, 101)}
        for time in near:
            near[time] += len(agents(handed_to(table, peer(number))) & newest)

    assert 8 <= near[1] / 100 <= 10  # of twenty
    assert near[2] / 100 <= 2.5


def test_one_seed_gives_one_hand_out() -> None:
    def run() -> list[PeerEntry]:
        table = a_table(seed=7)
        for number in range(60):
            reply_to(table, peer(number), wanting())
        return handed_to(table, peer(100))

    assert run() == run()


def test_a_peer_that_announces_again_stands_in_the_table_once() -> None:
    table = a_table()
    for now in (0.0, 5.0):
        reply_to(table, peer(1), wanting(), now=now)

    assert (table.swarm_count, table.peer_count) == (1, 1)
    assert agents(handed_to(table, peer(2), now=6.0)) == {peer(1)}


def test_a_peer_that_leaves_is_not_handed_out_again() -> None:
    table = a_table()
    reply_to(table, peer(1), wanting())
    reply = reply_to(table, peer(1), SwarmAnnounce(DIGEST, SWARM, want=5, left=True))

    assert reply.swarms[0].peers == []
    assert agents(handed_to(table, peer(2))) == set()
    assert table.peer_count == 1


def test_nobody_can_take_another_host_off_the_list() -> None:
    table = a_table()
    reply_to(table, peer(1), wanting())
    reply_to(table, peer(1, host="10.9.9.9"), SwarmAnnounce(DIGEST, SWARM, left=True))

    assert agents(handed_to(table, peer(2))) == {peer(1)}


def test_a_peer_is_forgotten_exactly_after_three_missed_intervals() -> None:
    table = a_table()
    reply_to(table, peer(1), wanting())

    assert table.next_deadline() == 30.0
    assert agents(handed_to(table, peer(2), now=29.9)) == {peer(1)}
    assert agents(handed_to(table, peer(2), now=30.0)) == set()
    assert table.peer_count == 1


def test_a_peer_that_is_heard_of_again_stays_for_three_more_intervals() -> None:
    table = a_table()
    for now in (0.0, 20.0):
        reply_to(table, peer(1), wanting(), now=now)

    assert agents(handed_to(table, peer(2), now=30.0)) == {peer(1)}
    assert agents(handed_to(table, peer(2), now=49.9)) == {peer(1)}
    assert agents(handed_to(table, peer(2), now=50.0)) == set()


def test_a_peer_that_left_and_came_back_is_not_forgotten_at_its_first_time() -> None:
    table = a_table()
    reply_to(table, peer(1), wanting())
    reply_to(table, peer(1), SwarmAnnounce(DIGEST, SWARM, left=True), now=10.0)
    reply_to(table, peer(1), wanting(), now=10.0)
    table.handle(Tick(), now=30.0)

    assert agents(handed_to(table, peer(2), now=39.9)) == {peer(1)}
    assert table.next_deadline() == 40.0


def test_who_comes_and_goes_all_day_leaves_nothing_behind() -> None:
    table = a_table()
    reply_to(table, peer(1), wanting(0))
    for _ in range(5000):
        reply_to(table, peer(2), wanting(0))
        reply_to(table, peer(2), SwarmAnnounce(DIGEST, SWARM, left=True))

    assert (table.swarm_count, table.peer_count) == (1, 1)
    assert len(table._watch) < 1500


def test_a_swarm_without_peers_is_no_swarm() -> None:
    table = a_table()
    reply_to(table, peer(1), wanting())
    table.handle(Tick(), now=30.0)

    assert (table.swarm_count, table.peer_count, table.next_deadline()) == (0, 0, None)


def test_origins_are_handed_to_agents_only_and_each_once() -> None:
    assert handed_to(a_table(), ORIGINS[0]) == []
    table = a_table()
    for origin in ORIGINS:
        reply_to(table, origin, wanting(0))

    assert set(handed_to(table, ORIGINS[0])) == {ORIGINS[1], ORIGINS[2]}
    peers = handed_to(table, peer(1))
    assert len(peers) == len(set(peers)) == 3


def test_an_origin_is_named_with_its_neighbours_in_a_circle_and_with_no_other() -> None:
    a, b, c = (encode(origin) for origin in ORIGINS)

    assert origin_choices((a, b, c), 2) == ((a, b), (b, c), (c, a))
    assert origin_choices((a, b), 3) == ((a, b), (b, a))
    assert origin_choices((a, b), 0) == ((), ())
    assert origin_choices((), 2) == ()


def test_the_interval_grows_with_the_largest_swarm_of_the_announce() -> None:
    table = a_table(AnnounceSettings(hold_seconds=0, interval_seconds=2, peers_per_interval_second=10))
    for number in range(50):
        reply_to(table, peer(number), wanting())

    assert reply_to(table, peer(50), wanting(swarm=OTHER)).interval == 2.0
    assert reply_to(table, peer(50), wanting(), wanting(swarm=OTHER)).interval == 5.0


def test_a_full_table_still_answers_and_keeps_nobody_new() -> None:
    table = a_table(AnnounceSettings(hold_seconds=0, max_swarms=1, max_peers=2))
    for number in range(4):
        reply_to(table, peer(number), wanting())
    reply = reply_to(table, peer(1), wanting(swarm=OTHER))

    assert agents(handed_to(table, peer(9))) == {peer(0), peer(1)}
    assert set(reply.swarms[0].peers) < set(ORIGINS)
    assert (table.swarm_count, table.peer_count) == (1, 2)


def test_announces_to_a_young_swarm_are_answered_together() -> None:
    table = a_table(AnnounceSettings(hold_seconds=0.005, young_seconds=1.0))
    for ticket in range(3):
        assert table.handle(announced(peer(ticket), wanting(), ticket=ticket), now=10.0 + ticket / 1000) == []

    assert table.next_deadline() == 10.005
    assert table.handle(Tick(), now=10.004) == []
    answers = table.handle(Tick(), now=10.005)
    assert [answer.ticket for answer in answers] == [0, 1, 2]
    for answer in answers:
        others = {peer(number) for number in range(3)} - {peer(answer.ticket)}
        assert agents(decode_reply(answer.reply).swarms[0].peers) == others


def test_an_old_swarm_is_answered_at_once_and_so_is_who_wants_nothing() -> None:
    table = a_table(AnnounceSettings(hold_seconds=0.125, young_seconds=1.0))

    assert len(table.handle(announced(peer(1), wanting(0)), now=10.0)) == 1
    assert table.handle(announced(peer(2), wanting()), now=10.75) == []
    assert len(table.handle(Tick(), now=10.875)) == 1
    assert len(table.handle(announced(peer(3), wanting()), now=11.0)) == 1


class AnyAnnounces(RuleBasedStateMachine):
    """Whatever is announced in whatever order, the promises of the table hold."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = AnnounceSettings(max_swarms=3, max_peers=8, peers=4, interval_seconds=1.0)
        self.table: PeerTable[int] = PeerTable(self.limits, random.Random(0))
        self.now = 0.0
        self.seen: dict[tuple[bytes, PeerEntry], float] = {}
        self.open: dict[int, tuple[PeerEntry, list[SwarmAnnounce]]] = {}
        self.ticket = 0

    @rule(
        number=st.integers(0, 5),
        picked=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.booleans()), min_size=1, max_size=3),
    )
    def announce(self, number: int, picked: list[tuple[int, int, bool]]) -> None:
        swarms = [SwarmAnnounce(DIGEST, bytes([swarm]) * 20, want, left=left) for swarm, want, left in picked]
        event = announced(peer(number), *swarms, ticket=self.ticket)
        self.open[self.ticket] = peer(number), swarms
        self.ticket += 1
        self.check(self.table.handle(event, self.now))
        for swarm in swarms:
            self.seen[swarm.swarm, peer(number)] = self.now

    @rule(seconds=st.sampled_from([0.001, 0.005, 0.5, 1.0, 3.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.check(self.table.handle(Tick(), self.now))

    @precondition(lambda self: self.open)
    @rule()
    def wait_for_the_deadline(self) -> None:
        deadline = self.table.next_deadline()
        assert deadline is not None
        self.now = max(self.now, deadline)
        self.check(self.table.handle(Tick(), self.now))

    def check(self, actions: list[SendReply[int]]) -> None:
        for action in actions:
            asking, swarms = self.open.pop(action.ticket)  # answered once, and only who asked
            reply = decode_reply(action.reply)
            assert [it.swarm for it in reply.swarms] == [it.swarm for it in swarms]
            for asked, given in zip(swarms, reply.swarms, strict=True):
                assert asking not in given.peers
                assert len(given.peers) == len(set(given.peers))
                assert len(agents(given.peers)) <= min(asked.want, self.limits.peers)
                for entry in agents(given.peers):
                    assert self.now - self.seen[given.swarm, entry] < 3 * self.limits.interval_seconds

    @invariant()
    def the_table_is_bounded(self) -> None:
        assert self.table.swarm_count <= self.limits.max_swarms
        assert self.table.peer_count <= self.limits.max_peers
        assert (self.table.peer_count == 0) == (self.table.swarm_count == 0)


TestAnyAnnounces = AnyAnnounces.TestCase
TestAnyAnnounces.settings = settings(max_examples=60, stateful_step_count=30)
