"""CPU seconds and wall time per GB of a push, beside Debian's docker-registry in the same run.

The comparison is of one durable copy each: one proxy and one origin. With three origins every byte is
received, hashed and written three times; that is given beside it, without a mark.
"""

from __future__ import annotations

from pathlib import Path

from bench.docker_registry import docker_registry
from bench.figures import Figure
from bench.lab import GIB, Member, cluster, cpu_seconds, push, seeded_file

RUNS = 5
SIZE = GIB


def measure(folder: Path) -> list[Figure]:
    """Mark: no more CPU than docker-registry.

    Both run at once and are pushed to in turn, now one first, now the other: what a machine must pay for page
    cache that is touched for the first time then falls on both alike.
    """
    files = [folder / f"push{number}.bin" for number in range(RUNS + 1)]
    pushes = [(path, seeded_file(path, SIZE, seed=10 + number)) for number, path in enumerate(files)]
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    with (
        cluster(folder, origins=1, trackers=1, indexes=1, proxies=1, agents=0) as members,
        docker_registry(folder) as (url, pid),
    ):
        proxy, pids = _pushed_to(members)
        turns = [(ours, proxy, pids), (theirs, url, [pid])]
        for path, digest in pushes:
            for costs, registry, of_pids in turns:
                costs.append(_cost(registry, of_pids, path, digest))
            turns.reverse()
    with cluster(folder, origins=3, trackers=1, indexes=1, proxies=1, agents=0) as members:
        three = [_cost(*_pushed_to(members), path, digest) for path, digest in pushes]
    for path in files:
        path.unlink()
    ratios = tuple(mine / other for (mine, _), (other, _) in zip(ours[1:], theirs[1:], strict=True))
    return [
        *_figures("kraken, one copy", ours),
        *_figures("docker-registry, one copy", theirs),
        *_figures("kraken, three copies", three),
        Figure("push", "kraken / docker-registry", "CPU ratio", ratios, 1.0, "x docker-registry"),
    ]


def _figures(who: str, costs: list[tuple[float, float]]) -> list[Figure]:
    measured = costs[1:]  # the first warms up
    return [
        Figure("push", who, "CPU s/GB", tuple(cpu for cpu, _ in measured)),
        Figure("push", f"{who}, wall", "s/GB", tuple(wall for _, wall in measured)),
    ]


def _pushed_to(members: list[Member]) -> tuple[str, list[int]]:
    """Where a cluster is pushed to, and the processes that a push costs."""
    proxy = next(member for member in members if member.kind == "proxy")
    return proxy.http, [member.pid for member in members if member.kind in ("proxy", "origin")]


def _cost(registry: str, pids: list[int], path: Path, digest: str) -> tuple[float, float]:
    """CPU seconds and wall seconds per GB of one push."""
    before = cpu_seconds(pids)
    seconds = push(registry, "bench/push", path, digest)
    return (cpu_seconds(pids) - before) / (SIZE / 1e9), seconds / (SIZE / 1e9)
