"""What the tracker tells of its swarms."""

from __future__ import annotations

import random

from kraken.core.peers import Role
from kraken.tracker.live_view import OriginView, PeerView, SwarmLine, SwarmsView, swarm_view, swarms_view
from kraken.tracker.messages import PeerEntry, encode
from kraken.tracker.roster import Listed, Roster

DIGEST = "sha256:" + "0" * 64
ORIGIN = PeerEntry(b"o" * 20, "10.9.0.1", 5302, "origin")


def a_roster(*peers: tuple[int, Role, str, bool], swarm: int = 1, born: float = 0.0) -> Roster:
    roster = Roster(bytes([swarm]) * 20, DIGEST, born, random.Random(1))
    for number, role, zone, complete in peers:
        entry = PeerEntry(bytes([number]) * 20, f"10.0.0.{number}", 7000, role.value)
        roster.add(encode(entry), Listed(number, born + number, role, zone), 100.0 + number, complete)
    return roster


def test_a_swarm_is_told_with_sums_ages_and_origins() -> None:
    roster = a_roster((1, Role.AGENT, "east", True), (2, Role.AGENT, "east", False), (3, Role.ORIGIN, "", False))
    view = swarm_view(roster, [encode(ORIGIN)], limit=100, now=50.0)

    assert (view.swarm, view.digest, view.age_seconds) == ("01" * 20, DIGEST, 50.0)
    assert (view.complete, view.incomplete) == (1, 2)
    assert view.roles == {"agent": 2, "origin": 1}
    assert view.zones == {"east": 2, "": 1}
    assert view.origins == [OriginView("6f" * 20, "10.9.0.1", 5302)]
    assert sorted(view.peers, key=lambda peer: peer.host) == [
        PeerView("01" * 20, "10.0.0.1", 7000, "agent", "east", True, 49.0, 51.0),
        PeerView("02" * 20, "10.0.0.2", 7000, "agent", "east", False, 48.0, 52.0),
        PeerView("03" * 20, "10.0.0.3", 7000, "origin", "", False, 47.0, 53.0),
    ]


def test_the_sums_are_of_all_whatever_is_listed() -> None:
    roster = a_roster(*((number, Role.AGENT, f"zone {number}", False) for number in range(150)))
    view = swarm_view(roster, [], limit=7, now=50.0)

    assert len(view.peers) == 7
    assert view.incomplete == 150
    assert view.roles == {"agent": 150}
    assert len(view.zones) == 100


def test_the_largest_swarms_are_named_first() -> None:
    rosters = [
        a_roster(*((number, Role.AGENT, "", number == 0) for number in range(size)), swarm=size, born=10.0)
        for size in (2, 5, 3)
    ]

    assert swarms_view(rosters, 3, 10, limit=2, now=12.0) == SwarmsView(
        3, 10, [SwarmLine("05" * 20, DIGEST, 2.0, 5, 1), SwarmLine("03" * 20, DIGEST, 2.0, 3, 1)]
    )
