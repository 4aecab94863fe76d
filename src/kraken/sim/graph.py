"""Ideal graphs: who is connected to whom when no tracker has to arrange it."""

from __future__ import annotations

import random


def regular(count: int, degree: int, rng: random.Random) -> list[tuple[int, int]]:
    """The edges of a random graph in which each of `count` nodes has `degree` edges, or one less here and there.

    Stubs are paired at random; pairs that would repeat an edge or join a node to itself are swapped with others.
    """
    stubs = [node for node in range(count) for _ in range(degree)]
    edges: set[tuple[int, int]] = set()
    for _ in range(50):
        rng.shuffle(stubs)
        left: list[int] = []
        for one, two in zip(stubs[::2], stubs[1::2], strict=False):
            edge = (min(one, two), max(one, two))
            if one == two or edge in edges:
                left += edge
            else:
                edges.add(edge)
        if len(stubs) % 2:
            left.append(stubs[-1])
        stubs = left
    return sorted(edges)


def floor(hosts: int, origins: int, piece_seconds: float, hop_seconds: float, ideal: float) -> float:
    """The part of line rate that no policy that forwards whole pieces can exceed in the middle of the crowd.

    Half of the hosts hold no piece until the last hop but one, and the number of hosts that hold something at
    most doubles with each hop: good to within one hop.

    Args: piece_seconds, on the wire; hop_seconds, what a hop costs beside that.
    """
    reached, hops = origins, 0
    while reached < hosts / 2:
        reached, hops = 2 * reached, hops + 1
    return ideal / (ideal + max(hops - 1, 0) * (piece_seconds + hop_seconds))
