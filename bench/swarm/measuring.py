"""One real run: push, limit, let everybody pull, and take the figures."""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.lab import cpu_seconds, peak_rss_bytes, push, seeded_file
from bench.swarm.cluster import Cluster, Samples, cluster, samples
from bench.swarm.crowd import Layer, Pulled, pull_by_all
from bench.swarm.namespaces import LanHost, lan
from bench.swarm.report import Costs, Figures, Setting, rates
from bench.swarm.touched_memory import TouchedMemory
from kraken.core.peers import Address
from kraken.sim.outcome import reached_by

_REPOSITORY = "bench/swarm"
_TRIES = 20
_CLIENTS_NICENESS = -15
_SMOOTHED = re.compile(r"\brtt:([0-9.]+)/")  # of `ss -i`, milliseconds
_SENT, _RESENT = ("TcpExt", "TCPOrigDataSent"), ("Tcp", "RetransSegs")  # of /proc/net/netstat and snmp, segments


@dataclass(frozen=True, slots=True)
class _Before:
    """What is counted up, as it stood when the pull began."""

    metrics: Mapping[Address, Samples]
    cpu: float
    machine: tuple[float, float]
    segments: tuple[int, int]


def measure(setting: Setting, folder: Path, *, in_memory: bool) -> tuple[Figures, Costs]:
    """Run a crowd for real. Everything that it needs is gone afterwards, but for files in `folder`.

    Args: in_memory, whether these are in memory, of which as much as hosts will write is to be touched before.
    Raises: PermissionError, unless it is root who asks; RuntimeError or OSError, when a host does not get its blobs.
    """
    with lan(setting.hosts + setting.origins) as hosts:
        return asyncio.run(_measured(setting, hosts, folder, in_memory=in_memory))


async def _measured(
    setting: Setting, hosts: Sequence[LanHost], folder: Path, *, in_memory: bool
) -> tuple[Figures, Costs]:
    async with cluster(hosts, setting.origins, folder) as it:
        layers = await _pushed(setting, it.proxy, folder)
        round_trip = await asyncio.to_thread(_idle_round_trip, it.agents[0].child.http)
        pulled_bytes = setting.hosts * sum(setting.layers)
        touched = await asyncio.to_thread(TouchedMemory, pulled_bytes) if in_memory else None
        for host in hosts:
            host.limit(setting.line_rate * 8)
        before = _Before(await samples(_counting(it)), _agents_cpu(it), _machine(), _segments(hosts))
        letting_go = asyncio.create_task(touched.let_go_ahead_of(folder)) if touched is not None else None
        amid = asyncio.create_task(_amid((setting.arrivals + setting.ideal_seconds) / 2, hosts))
        with _preferred():
            pulled = await pull_by_all(
                [(each.host, each.child.http) for each in it.agents],
                _REPOSITORY,
                layers,
                arrivals=setting.arrivals,
                rate=setting.payload_rate,
                rng=random.Random(f"{setting.seed}/arrivals"),
            )
        busy, cpu = _busy(before.machine, _machine()), _agents_cpu(it) - before.cpu
        resent = _resent(before.segments, _segments(hosts))
        figures = _figures(setting, pulled, it, before.metrics, await samples(_counting(it)))
        memory = [peak_rss_bytes(each.child.pid) for each in it.agents]
        delivered = pulled_bytes / 1e9
        loaded = await amid
        if letting_go is not None:
            letting_go.cancel()
    return figures, Costs(
        cpu / delivered, round(statistics.median(memory)), max(memory), busy, round_trip, loaded, resent
    )


@contextmanager
def _preferred() -> Iterator[None]:
    """This process, which is the client of every host, is scheduled before the hosts' own.

    With the share of one among fifty it would be the last to know what all of them have long had.
    """
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, _CLIENTS_NICENESS)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


async def _pushed(setting: Setting, proxy: Address, folder: Path) -> list[Layer]:
    layers = []
    for number, size in enumerate(setting.layers):
        source = folder / "layer.bin"
        digest = await asyncio.to_thread(seeded_file, source, size, seed=1000 * setting.seed + number)
        await asyncio.to_thread(push, f"http://{proxy}", _REPOSITORY, source, digest)
        source.unlink()
        layers.append(Layer(digest, size))
    return layers


def _figures(
    setting: Setting,
    pulled: Sequence[Pulled],
    it: Cluster,
    before: Mapping[Address, Samples],
    after: Mapping[Address, Samples],
) -> Figures:
    def grown(address: Address, name: str, **labels: str) -> float:
        return after[address].total(name, **labels) - before[address].total(name, **labels)

    size = sum(setting.layers)
    fractions = rates([each.seconds for each in pulled], setting.ideal_seconds)
    received = sum(grown(each.child.http, "kraken_p2p_bytes_total", direction="in") for each in it.agents)
    copies = [grown(each.child.http, "kraken_p2p_bytes_total", direction="out") / size for each in it.origins]
    lags = sorted(each.read_seconds / setting.ideal_seconds - 1.0 for each in pulled)
    one_blob = len(setting.layers) == 1
    return Figures(
        name="real",
        unfinished=setting.hosts - len(pulled),
        p50=reached_by(fractions, 0.5),
        p90=reached_by(fractions, 0.9),
        p99=reached_by(fractions, 0.99),
        slowest=fractions[-1],
        p50_seconds=setting.ideal_seconds / reached_by(fractions, 0.5),
        p99_seconds=setting.ideal_seconds / reached_by(fractions, 0.99),
        duplicate_percent=100.0 * (received - setting.hosts * size) / received,
        origin_copies=sum(copies),
        busiest_origin_copies=max(copies),
        announces_per_host=sum(grown(each.child.http, "kraken_announces_total") for each in it.agents) / setting.hosts,
        control_per_host=None,
        lag_p50=reached_by(lags, 0.5) if one_blob else None,
        lag_p99=reached_by(lags, 0.99) if one_blob else None,
    )


def _counting(it: Cluster) -> list[Address]:
    return [each.child.http for each in (*it.agents, *it.origins)]


def _agents_cpu(it: Cluster) -> float:
    return cpu_seconds([each.child.pid for each in it.agents])


def _idle_round_trip(address: Address) -> float:
    """Seconds that a TCP connection takes to stand, at the quickest of some."""
    quickest = float("inf")
    for _ in range(_TRIES):
        began = time.perf_counter()
        socket.create_connection((address.host, address.port)).close()
        quickest = min(quickest, time.perf_counter() - began)
    return quickest


async def _amid(wait: float, hosts: Sequence[LanHost]) -> float:
    """The median round trip of connections between peers, after so many seconds. 0.0 when there are none."""
    await asyncio.sleep(wait)
    times = await asyncio.to_thread(_round_trips, hosts)
    return statistics.median(times) / 1e3 if times else 0.0


def _round_trips(hosts: Sequence[LanHost]) -> list[float]:
    """Milliseconds, as TCP smooths them, of every connection that leaves a host. In a thread of its own."""
    times: list[float] = []
    for host in hosts:
        with host.namespace.entered():
            text = subprocess.run(
                [
                    "ss",
                    "-Htin",
                    "state",
                    "established",
                    "src",
                    host.address,
                    "and",
                    "dst",
                    "10.77.0.0/16",
                    "and",
                    "not",
                    "dst",
                    host.address,
                ],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        times += map(float, _SMOOTHED.findall(text))
    return times


def _segments(hosts: Sequence[LanHost]) -> tuple[int, int]:
    """Segments with data that all hosts together have sent, and that they have sent again."""
    sent = resent = 0
    for host in hosts:
        with host.namespace.entered():
            counters = _counters("netstat") | _counters("snmp")
        sent, resent = sent + counters[_SENT], resent + counters[_RESENT]
    return sent, resent


def _counters(name: str) -> dict[tuple[str, str], int]:
    """What the kernel counts for the network namespace of this thread: by protocol and name."""
    lines = [line.split() for line in Path(f"/proc/thread-self/net/{name}").read_text().splitlines()]
    return {
        (names[0].removesuffix(":"), each): int(value)
        for names, values in zip(lines[::2], lines[1::2], strict=True)
        for each, value in zip(names[1:], values[1:], strict=True)
    }


def _resent(before: tuple[int, int], after: tuple[int, int]) -> float:
    """The part of what was sent since then which was sent again."""
    sent, resent = after[0] - before[0], after[1] - before[1]
    return resent / max(sent + resent, 1)


def _machine() -> tuple[float, float]:
    """Ticks that all cores together have worked, and that have passed."""
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    passed = sum(fields)
    return passed - fields[3] - fields[4], passed  # all but idle and waiting for a disk


def _busy(before: tuple[float, float], after: tuple[float, float]) -> float:
    return (after[0] - before[0]) / max(after[1] - before[1], 1)
