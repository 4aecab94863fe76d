"""Ideal graphs, and the floor."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from kraken.sim.graph import floor, regular


@pytest.mark.parametrize(("count", "degree"), [(50, 12), (7, 3), (13, 12), (10, 0)])
def test_a_random_regular_graph_has_the_degree_and_no_edge_twice(count: int, degree: int) -> None:
    edges = regular(count, degree, random.Random(1))
    ends = Counter(end for edge in edges for end in edge)

    assert len(set(edges)) == len(edges)
    assert all(one < two for one, two in edges)
    assert all(ends[node] <= degree for node in range(count))
    assert sum(ends.values()) >= count * degree - 2 * degree


def test_the_floor_falls_with_hosts_and_with_piece_size() -> None:
    few, many = (floor(hosts, 3, 0.001, 0.001, 1.0) for hosts in (100, 10_000))

    assert floor(1, 1, 0.001, 0.001, 1.0) == 1.0
    assert 1.0 > few > many > floor(10_000, 3, 0.004, 0.001, 1.0)
