"""How the requests of a host are shared out among its swarms."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from kraken.core.metainfo import SwarmId
from kraken.core.pieces import KIB, MIB
from kraken.p2p.priority import Priority
from kraken.p2p.request_budget import Wish, share_out

ONE, TWO, THREE = (SwarmId(bytes([number]) * 20) for number in (1, 2, 3))
NOW, SOON, WHENEVER = Priority


def test_a_swarm_alone_has_no_limit_and_two_have_half_each() -> None:
    greedy = Wish(NOW, MIB, 24)

    assert share_out({}, 32 * MIB) == {}
    assert share_out({ONE: greedy}, 32 * MIB) == {ONE: None}
    assert share_out({ONE: greedy, TWO: greedy}, 32 * MIB) == {ONE: 16, TWO: 16}


def test_bytes_are_shared_not_requests_and_nobody_goes_short_of_what_another_has_no_use_for() -> None:
    wishes = {ONE: Wish(NOW, 4 * MIB, 24), TWO: Wish(NOW, MIB, 64), THREE: Wish(NOW, 256 * KIB, 17)}

    assert share_out(wishes, 64 * MIB) == {ONE: 7, TWO: 29, THREE: 22}


def test_what_a_client_waits_for_comes_before_what_is_prefetched_and_that_before_the_background() -> None:
    wishes = {ONE: Wish(WHENEVER, MIB, 24), TWO: Wish(SOON, MIB, 24), THREE: Wish(NOW, MIB, 24)}

    assert share_out(wishes, 32 * MIB) == {ONE: 1, TWO: 7, THREE: 24}
    del wishes[THREE]
    assert share_out(wishes, 32 * MIB) == {ONE: 8, TWO: 24}


def test_what_nobody_has_a_use_for_now_is_divided_for_whoever_has_in_a_moment() -> None:
    assert share_out({ONE: Wish(NOW, MIB, 0), TWO: Wish(WHENEVER, MIB, 10)}, 32 * MIB) == {ONE: 11, TWO: 20}


WISHES = st.dictionaries(
    st.integers(0, 40).map(lambda number: SwarmId(bytes([number]) * 20)),
    st.builds(
        Wish,
        st.sampled_from(Priority),
        st.sampled_from([2**power * 256 * KIB for power in range(7)]),
        st.integers(0, 60),
    ),
    min_size=2,
)


@settings(deadline=None)
@given(st.integers(16, 256).map(lambda mebibytes: mebibytes * MIB), WISHES)
def test_the_bytes_are_enough_for_all_and_go_in_order_of_priority(max_bytes: int, wishes: dict[SwarmId, Wish]) -> None:
    shares = {swarm: most or 0 for swarm, most in share_out(wishes, max_bytes).items()}

    assert shares.keys() == wishes.keys()
    assert all(share >= 1 for share in shares.values())
    single = sum(wish.piece_length for wish in wishes.values())
    assert sum(shares[swarm] * wish.piece_length for swarm, wish in wishes.items()) <= max(max_bytes, single)
    for swarm, wish in wishes.items():
        spare = max(max_bytes - sum(shares[each] * it.piece_length for each, it in wishes.items()), 0)
        for other, theirs in wishes.items():
            if theirs.requests <= shares[other]:
                continue
            rounding = sum(it.piece_length for it in wishes.values() if it.priority is theirs.priority)
            if theirs.priority < wish.priority:
                rest = spare + (shares[swarm] - 1) * wish.piece_length
                assert rest < rounding, "a lower class has what a higher one could use"
            if theirs.priority is wish.priority:
                more = min(shares[swarm], wish.requests) * wish.piece_length
                assert shares[other] * theirs.piece_length + rounding >= more, "one of the same class has more"
