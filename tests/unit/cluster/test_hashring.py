from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.cluster.hashring import Ring, rank
from kraken.core.errors import Invalid
from kraken.core.peers import Address

hosts = st.lists(
    st.builds(Address, st.sampled_from(["a", "b", "c.example", "10.0.0.1"]), st.integers(1, 65535)), unique=True
)
TEN = tuple(Address(f"origin-{number}", 5200) for number in range(10))


@given(st.text(max_size=80), hosts)
def test_a_rank_is_a_permutation_of_the_hosts_in_any_order_of_them(key: str, known: list[Address]) -> None:
    ranked = rank(key, known)

    assert sorted(ranked) == sorted(known)
    assert rank(key, reversed(known)) == ranked


@given(st.text(max_size=80), hosts.filter(bool), st.data())
def test_a_host_that_leaves_moves_only_its_own_keys(key: str, known: list[Address], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(known))

    assert rank(key, [host for host in known if host != gone]) == [host for host in rank(key, known) if host != gone]


@given(st.text(max_size=80), hosts, st.integers(1, 5))
def test_owners_are_the_first_of_the_rank(key: str, known: list[Address], replicas: int) -> None:
    ring = Ring(tuple(known), replicas)

    assert ring.owners(key) == ring.ranked(key)[:replicas] == rank(key, known)[:replicas]


def test_keys_are_spread_evenly() -> None:
    first = Counter(rank(f"key {number}", TEN)[0] for number in range(10_000))

    assert len(first) == 10
    assert all(850 < count < 1150 for count in first.values())


def test_the_rank_never_changes_for_it_says_where_data_is() -> None:
    assert [host.host[-1] for host in rank("sha256:" + "0" * 64, TEN)] == list("4329708651")


def test_a_ring_without_replicas_is_invalid() -> None:
    with pytest.raises(Invalid):
        Ring(TEN, 0)
