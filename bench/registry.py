"""The registry's small requests: manifests by tag, pushes of small images, pages of a hundred thousand tags.

Beside Debian's docker-registry in the same run, in turn. A GET counts the process that answers it, as a fleet has one
for each host; a push counts every process of the cluster that it costs, with one copy of each blob as docker-registry
makes, and with three besides.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from bench.docker_registry import docker_registry
from bench.figures import Figure
from bench.lab import Member, cluster, cpu_seconds, run
from bench.small_pushes import push_all

RUNS = 5
GETS = 4000
PUSHES = 1000
CLIENTS = 16
TAGS = 100_000
PAGE = 1000

_IMAGE = "application/vnd.oci.image.manifest.v1+json"


def measure(folder: Path) -> list[Figure]:
    """Marks: less CPU than docker-registry for a GET and for a push; a page of tags within 50 ms."""
    with docker_registry(folder) as (theirs, their_pid):
        with cluster(folder, origins=1, trackers=1, indexes=1, proxies=1, agents=1) as members:
            figures = _gets(members, theirs, their_pid)
            figures += _pushes(members, theirs, their_pid)
            figures += _tags(_url(members, "proxy"))
        with cluster(folder, origins=3, trackers=1, indexes=3, proxies=1, agents=0) as members:
            three = [_push_cost(_url(members, "proxy"), _pids(members), f"bench/three{turn}") for turn in range(2)]
    return [*figures, *_push_figures("kraken, three copies, three index nodes", three)]


def _gets(members: Sequence[Member], theirs: str, their_pid: int) -> list[Figure]:
    registries = {
        "proxy": (_url(members, "proxy"), next(it.pid for it in members if it.kind == "proxy")),
        "agent": (_url(members, "agent"), next(it.pid for it in members if it.kind == "agent")),
        "docker-registry": (theirs, their_pid),
    }
    for url in (_url(members, "proxy"), theirs):
        asyncio.run(push_all(url, "bench/get", 1, 1))
    costs: dict[str, list[float]] = {who: [] for who in registries}
    for _turn in range(RUNS + 1):
        for who, (url, pid) in registries.items():
            before = cpu_seconds([pid])
            _get(url)
            costs[who].append((cpu_seconds([pid]) - before) / GETS * 1e6)
    measured = {who: tuple(runs[1:]) for who, runs in costs.items()}  # the first warms up
    peer = measured["docker-registry"]
    figures = [Figure("manifest GET", who, "CPU us/request", runs) for who, runs in measured.items()]
    for who in ("proxy", "agent"):
        ratios = tuple(mine / other for mine, other in zip(measured[who], peer, strict=True))
        figures.append(
            Figure("manifest GET", f"{who} / docker-registry", "CPU ratio", ratios, 1.0, "x docker-registry")
        )
    return figures


def _get(url: str) -> None:
    """GET a manifest by tag, by eight clients at once that keep their connections."""
    path = f"{url}/v2/bench/get/manifests/v0"
    run(sys.executable, "-m", "bench.many_gets", path, str(GETS), "8", _IMAGE)


def _pushes(members: Sequence[Member], theirs: str, their_pid: int) -> list[Figure]:
    ours: list[tuple[float, float]] = []
    others: list[tuple[float, float]] = []
    for turn in range(RUNS):
        repository = f"bench/pushes{turn}"
        ours.append(_push_cost(_url(members, "proxy"), _pids(members), repository))
        others.append(_push_cost(theirs, [their_pid], repository))
    ratios = tuple(mine / other for (mine, _), (other, _) in zip(ours, others, strict=True))
    return [
        *_push_figures("kraken, one copy", ours),
        *_push_figures("docker-registry", others),
        Figure("small push", "kraken / docker-registry", "CPU ratio", ratios, 1.0, "x docker-registry"),
    ]


def _push_cost(url: str, pids: Sequence[int], repository: str) -> tuple[float, float]:
    """CPU milliseconds of the servers and wall milliseconds for one push."""
    before = cpu_seconds(pids)
    command = (sys.executable, "-m", "bench.small_pushes", url, repository, str(PUSHES), str(CLIENTS))
    seconds = float(run(*command))
    return (cpu_seconds(pids) - before) / PUSHES * 1e3, seconds / PUSHES * 1e3


def _push_figures(who: str, costs: Sequence[tuple[float, float]]) -> list[Figure]:
    return [
        Figure("small push", who, "CPU ms/push", tuple(cpu for cpu, _ in costs)),
        Figure("small push", f"{who}, {CLIENTS} clients", "ms/push", tuple(wall for _, wall in costs)),
    ]


def _tags(proxy: str) -> list[Figure]:
    seconds = asyncio.run(_pages(proxy))
    return [Figure("tags", f"a page of {PAGE} of {TAGS:,}", "ms", tuple(it * 1e3 for it in seconds), 50.0, "ms")]


async def _pages(proxy: str) -> list[float]:
    """Seconds for each of some pages, from all over the list."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{proxy}/v2/bench/get/manifests/v0") as answer:
            manifest, digest = await answer.read(), answer.headers["Docker-Content-Digest"]
        for at in range(0, TAGS, 100):
            tags = "&".join(f"tag=t{number:06}" for number in range(at, at + 100))
            path = f"{proxy}/v2/bench/get/manifests/{digest}?{tags}"
            async with session.put(path, data=manifest, headers={"Content-Type": _IMAGE}) as answer:
                if answer.status != 201:
                    raise RuntimeError(await answer.text())
        seconds = []
        for last in range(0, TAGS, TAGS // 20):
            begun = time.monotonic()
            async with session.get(f"{proxy}/v2/bench/get/tags/list?n={PAGE}&last=t{last:06}") as answer:
                found = json.loads(await answer.read())["tags"]
            seconds.append(time.monotonic() - begun)
            if len(found) != min(PAGE, TAGS - 1 - last + 1):
                raise RuntimeError(f"{len(found)} tags after t{last:06}")
        return seconds


def _url(members: Sequence[Member], kind: str) -> str:
    return next(it.http for it in members if it.kind == kind)


def _pids(members: Sequence[Member]) -> list[int]:
    return [it.pid for it in members if it.kind in ("proxy", "origin", "index")]
