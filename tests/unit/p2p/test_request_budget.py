"""How the requests of a host are shared out among its swarms."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from kraken.core.metainfo import SwarmId
from kraken.core.pieces import KIB, MIB
from kraken.p2p.priority import Priority
from kraken.p2p.request_budget import Limits, Wish, share_out

ONE, TWO, THREE = (SwarmId(bytes([number]) * 20) for number in (1, 2, 3))
NOW, SOON, WHENEVER = Priority


def test_a_swarm_alone_has_no_limit_and_two_have_half_each() -> None:
    greedy = Wish(NOW, MIB, 24)

    assert share_out({}, Limits(32 * MIB, 16)) == {}
    assert share_out({ONE: greedy}, Limits(32 * MIB, 16)) == {ONE: None}
    assert share_out({ONE: greedy, TWO: greedy}, Limits(32 * MIB, 16)) == {ONE: 16, TWO: 16}


def test_bytes_are_shared_not_requests_and_nobody_goes_short_of_what_another_has_no_use_for() -> None:
    wishes = {ONE: Wish(NOW, 4 * MIB, 24), TWO: Wish(NOW, MIB, 64), THREE: Wish(NOW, 256 * KIB, 17)}

    assert share_out(wishes, Limits(64 * MIB, 16)) == {ONE: 7, TWO: 29, THREE: 22}


def test_what_a_client_waits_for_comes_before_what_is_prefetched_and_that_before_the_background() -> None:
    wishes = {ONE: Wish(WHENEVER, MIB, 24), TWO: Wish(SOON, MIB, 24), THREE: Wish(NOW, MIB, 24)}

    assert share_out(wishes, Limits(32 * MIB, 16)) == {ONE: 1, TWO: 7, THREE: 24}
    del wishes[THREE]
    assert share_out(wishes, Limits(32 * MIB, 16)) == {ONE: 8, TWO: 24}


def test_what_nobody_has_a_use_for_now_is_divided_for_whoever_has_in_a_moment() -> None:
    assert share_out({ONE: Wish(NOW, MIB, 0), TWO: Wish(WHENEVER, MIB, 10)}, Limits(32 * MIB, 16)) == {ONE: 11, TWO: 20}


def test_they_share_what_comes_in_20_ms_but_no_less_than_one_asks_for_alone() -> None:
    def shared(rate: float, piece_length: int = 256 * KIB) -> int:
        wishes = [Wish(NOW, piece_length, 24, rate / 2), Wish(NOW, 256 * KIB, 24, rate / 2)]
        return Limits(64 * MIB, 16).bytes_at_once(wishes)

    assert shared(0.0) == 64 * MIB
    assert shared(2.5e6) == shared(125e6) == 16 * 256 * KIB
    assert shared(2.5e6, piece_length=MIB) == 16 * MIB
    assert shared(1e9) == 20e6
    assert shared(10e9) == 64 * MIB


WISHES = st.dictionaries(
    st.integers(0, 40).map(lambda number: SwarmId(bytes([number]) * 20)),
    st.builds(
        Wish,
        st.sampled_from(Priority),
        st.sampled_from([2**power * 256 * KIB for power in range(7)]),
        st.integers(0, 60),
        st.just(0.0) | st.floats(1e3, 1e10),
    ),
    min_size=2,
)


@settings(deadline=None)
@given(st.integers(16, 256).map(lambda mebibytes: mebibytes * MIB), WISHES)
def test_the_bytes_are_enough_for_all_and_go_in_order_of_priority(most_bytes: int, wishes: dict[SwarmId, Wish]) -> None:
    limits = Limits(most_bytes, 16)
    max_bytes = limits.bytes_at_once(wishes.values())
    shares = {swarm: most or 0 for swarm, most in share_out(wishes, limits).items()}

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
