"""What follows from all neighbours together."""

from __future__ import annotations

import pytest

from kraken.core.peers import PeerId, Role
from kraken.p2p.ledger import PeerKey
from kraken.p2p.neighbourhood import FAR_AGENT, NEAR_AGENT, NEAR_ORIGIN, ORIGIN, SLOW, Neighbour, Neighbourhood

PIECES = 12


def name(number: int) -> PeerId:
    return PeerId(bytes([number]) * 20)


def here(me: int = 5, zone: str = "a") -> Neighbourhood:
    return Neighbourhood(name(me), zone, PIECES)


def joined(around: Neighbourhood, number: int, role: Role = Role.AGENT, zone: str = "a", pieces: int = 0) -> PeerKey:
    peer = PeerKey(number)
    kind = around.kind_of(role, zone)
    around.joined(peer, Neighbour(name(number), role, True, None, choking=False, heard_at=0.0, kind=kind))
    around.peers[peer].pieces = pieces
    return peer


@pytest.mark.parametrize(
    ("ours", "role", "theirs", "kind"),
    [
        ("a", Role.AGENT, "a", NEAR_AGENT),
        ("a", Role.AGENT, "b", FAR_AGENT),
        ("a", Role.AGENT, "", NEAR_AGENT),
        ("", Role.AGENT, "b", NEAR_AGENT),
        ("a", Role.ORIGIN, "a", NEAR_ORIGIN),
        ("a", Role.ORIGIN, "b", ORIGIN),
        ("", Role.ORIGIN, "", ORIGIN),
    ],
)
def test_only_two_zones_that_are_both_known_make_a_difference(ours: str, role: Role, theirs: str, kind: int) -> None:
    assert here(zone=ours).kind_of(role, theirs) == kind


def test_who_leaves_takes_all_that_was_counted_of_it_along() -> None:
    around = here()
    staying, leaving, origin = joined(around, 1), joined(around, 2, zone="b"), joined(around, 3, Role.ORIGIN)
    around.has_waiting(around.peers[staying], 4)
    around.has_waiting(around.peers[leaving], 20)
    around.is_late(leaving)
    assert (around.agents, around.queue, around.far, around.slow) == (2, 12, {leaving}, {leaving})
    assert around.left(leaving) is not None
    assert around.left(leaving) is None
    assert (around.agents, around.queue, around.far, around.slow) == (1, 4, set(), set())
    around.left(staying)
    around.left(origin)
    assert (around.agents, around.queue, around.origins) == (0, 0, set())


def test_the_shares_of_neighbours_that_see_each_other_make_up_the_blob() -> None:
    shares = []
    for me in (1, 2, 3):
        around = here(me)
        for other in {1, 2, 3} - {me}:
            joined(around, other)
        joined(around, 9, Role.ORIGIN)
        shares.append(around.our_share())
    assert sum(shares) == (1 << PIECES) - 1
    assert shares[0] | shares[1] | shares[2] == (1 << PIECES) - 1


def test_a_share_changes_with_who_is_there() -> None:
    around = here()
    other = joined(around, 1)
    assert around.our_share() != (1 << PIECES) - 1
    around.left(other)
    assert around.our_share() == (1 << PIECES) - 1


def test_what_late_choking_or_slow_agents_hold_is_not_counted_on() -> None:
    around = here()
    quick, late, choking, slow = (joined(around, number, pieces=1 << number) for number in range(1, 5))
    joined(around, 6, Role.ORIGIN, pieces=1 << 6)
    around.delivered(quick, 0.1, 0.1, now=1.0)
    around.delivered(slow, 0.1 * SLOW + 0.01, 0.1, now=1.0)
    around.is_late(late)
    around.peers[choking].choking = True
    assert around.held_by_agents() == 1 << 1
    around.delivered(late, 0.1, 0.1, now=2.0)
    assert around.held_by_agents() == 1 << 1 | 1 << 2


def test_what_far_agents_hold_can_be_left_out() -> None:
    around = here()
    joined(around, 1, pieces=0b01)
    joined(around, 2, zone="b", pieces=0b10)
    assert around.held_by_agents() == 0b11
    assert around.held_by_agents(NEAR_AGENT) == 0b01


def test_origins_are_what_all_wait_for_once_one_takes_far_longer_than_most_pieces() -> None:
    around = here()
    origin = joined(around, 1, Role.ORIGIN)
    assert not around.waits_for_origins(0.1)
    around.delivered(origin, 0.1 * SLOW, 0.1, now=1.0)
    assert not around.waits_for_origins(0.1)
    around.delivered(origin, 0.2 * SLOW, 0.1, now=2.0)
    assert around.waits_for_origins(0.1)
    assert not around.waits_for_origins(None)


def test_what_is_suggested_is_what_any_origin_did() -> None:
    around = here()
    for number in (1, 2):
        around.peers[joined(around, number, Role.ORIGIN)].suggested = number
    assert around.suggested() == 0b11
