"""The list of a swarm's peers: whom it deals, and what it remembers of each."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kraken.core.peers import Role
from kraken.tracker.roster import Listed, Roster

peers = st.integers(0, 15).map(lambda number: b"peer %d" % number)


def a_roster(size: int, seed: int = 1) -> Roster:
    roster = Roster(b"s" * 20, "sha256:00", 0.0, random.Random(seed))
    for number in range(size):
        roster.add(b"peer %d" % number, Listed(number, 0.0, Role.AGENT, ""), 30.0, complete=False)
    return roster


@given(
    size=st.integers(0, 200),
    count=st.integers(0, 70),
    asking=st.integers(0, 210),
    seed=st.integers(0, 9),
    new=st.booleans(),
)
def test_so_many_different_peers_are_dealt_as_there_are_but_not_the_one_that_asks(
    size: int, count: int, asking: int, seed: int, new: bool
) -> None:
    roster = a_roster(size, seed)
    dealt = roster.deal(count, b"peer %d" % asking, joins=new)

    others = {b"peer %d" % number for number in range(size)} - {b"peer %d" % asking}
    assert len(dealt) == len(set(dealt)) == min(count, len(others))
    assert set(dealt) <= others


def test_who_has_just_joined_meets_mostly_random_peers_and_some_who_joined_with_it() -> None:
    roster = a_roster(1600)
    met = [roster.deal(20, b"peer 1500", joins=True) for _ in range(500)]

    near = sum(abs(int(peer.split()[1]) - 1500) <= 100 for peers in met for peer in peers) / 500
    assert 7.5 < near < 10.5  # eight, and an eighth of the other twelve
    assert all(len(set(peers)) == 20 for peers in met)


def test_everybody_is_dealt_equally_often_in_every_place_whenever_it_came() -> None:
    roster = a_roster(97)
    places: list[dict[bytes, int]] = [dict.fromkeys((b"peer %d" % number for number in range(97)), 0) for _ in range(4)]
    for _ in range(40_000):
        for place, peer in enumerate(roster.deal(4, b"a stranger")):
            places[place][peer] += 1

    assert all(330 < count < 500 for counts in places for count in counts.values())  # 412 in the mean, sigma 20


@given(
    sizes=st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30)),
    count=st.integers(0, 30),
    crossing=st.integers(0, 5),
    asking=st.integers(0, 99),
    seed=st.integers(0, 9),
    joins=st.booleans(),
)
def test_a_zone_is_dealt_its_own_peers_and_few_others_as_long_as_there_are_enough_of_them(
    sizes: tuple[int, int, int], count: int, crossing: int, asking: int, seed: int, joins: bool
) -> None:
    roster = Roster(b"s" * 20, "sha256:00", 0.0, random.Random(seed))
    zones = ["east"] * sizes[0] + ["west"] * sizes[1] + [""] * sizes[2]
    for number, zone in enumerate(zones):
        roster.add(b"peer %d" % number, Listed(number, 0.0, Role.AGENT, zone), 30.0, complete=False)
    near = {b"peer %d" % number for number, zone in enumerate(zones) if zone == "east"} - {b"peer %d" % asking}
    others = {b"peer %d" % number for number in range(len(zones))} - {b"peer %d" % asking}

    dealt = roster.deal_near(count, b"peer %d" % asking, "east", crossing, joins=joins)

    assert len(dealt) == len(set(dealt)) == min(count, len(others))
    assert set(dealt) <= others
    if len(near) >= count:
        assert len(set(dealt) - near) <= crossing


def test_everybody_of_a_zone_is_dealt_equally_often_and_so_is_everybody_else() -> None:
    roster = Roster(b"s" * 20, "sha256:00", 0.0, random.Random(1))
    for number in range(120):
        zone = ("east", "west", "north")[number % 3]
        roster.add(b"peer %d" % number, Listed(number, 0.0, Role.AGENT, zone), 30.0, complete=False)
    dealt = Counter(peer for _ in range(10_000) for peer in roster.deal_near(10, b"a stranger", "east", 2))

    east = [dealt[b"peer %d" % number] for number in range(0, 120, 3)]
    rest = [dealt[b"peer %d" % number] for number in range(120) if number % 3]
    assert all(1850 < count < 2150 for count in east)  # 8 of 40, 10,000 times: 2,000, sigma 40
    assert all(190 < count < 310 for count in rest)  # 2 of 80: 250, sigma 16


def test_two_that_came_one_after_the_other_are_not_dealt_together_more_often_than_others() -> None:
    together = 0
    for seed in range(3000):
        dealt = a_roster(40, seed).deal(10, b"a stranger")
        together += b"peer 20" in dealt and b"peer 21" in dealt

    assert 120 < together < 230  # 10/40 x 9/39 of 3,000 is 173, sigma 13


def test_two_hand_outs_have_hardly_anybody_in_common() -> None:
    roster = a_roster(1000)
    dealt = [set(roster.deal(10, b"a stranger")) for _ in range(2000)]

    alike = sum(len(one & other) >= 3 for one, other in pairwise(dealt))
    assert alike < 10  # 28 if they were runs of neighbours


def test_a_peer_has_another_number_when_it_comes_back() -> None:
    roster = a_roster(3)
    roster.remove(b"peer 1")
    assert roster.expires(b"peer 1", 1) is None
    roster.add(b"peer 1", Listed(7, 9.0, Role.AGENT, ""), 60.0, complete=True)

    assert roster.expires(b"peer 1", 1) is None
    assert roster.expires(b"peer 1", 7) == 60.0


class AnyChanges(RuleBasedStateMachine):
    """Whatever joins, is heard of and leaves, the list says of each peer what was last said."""

    def __init__(self) -> None:
        super().__init__()
        self.roster = a_roster(0)
        self.model: dict[bytes, tuple[Listed, float, bool]] = {}
        self.number = 0

    @rule(peer=peers, expires=st.floats(0, 100), complete=st.booleans())
    def announce(self, peer: bytes, expires: float, complete: bool) -> None:
        known = self.roster.heard(peer, expires, complete)
        assert known == (peer in self.model)
        if known:
            self.model[peer] = (self.model[peer][0], expires, complete)
        else:
            self.number += 1
            listed = Listed(self.number, 1.0, Role.AGENT, f"zone {self.number % 3}")
            self.roster.add(peer, listed, expires, complete)
            self.model[peer] = (listed, expires, complete)

    @rule(peer=peers)
    def leave(self, peer: bytes) -> None:
        if peer in self.roster:
            self.roster.remove(peer)
            del self.model[peer]

    @invariant()
    def it_remembers_each(self) -> None:
        assert {peer: (said, expires, complete) for peer, said, expires, complete in self.roster} == self.model
        assert len(self.roster) == len(self.model)
        assert self.roster.complete_count == sum(complete for _, _, complete in self.model.values())
        for peer, (said, expires, _) in self.model.items():
            assert self.roster.expires(peer, said.number) == expires
        assert {peer: self.roster.peers[place] for peer, place in self.roster.places.items()} == {
            peer: peer for peer in self.model
        }
        assert set(self.roster.deal(20, b"a stranger")) == set(self.model)
        for zone in ("zone 0", "zone 1", "zone 2"):
            here = {peer for peer, (said, _, _) in self.model.items() if said.zone == zone}
            assert set(self.roster.deal_near(len(here), b"a stranger", zone, 0)) == here


TestAnyChanges = AnyChanges.TestCase
