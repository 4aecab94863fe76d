"""How long a client waits for the first byte of a blob that its agent does not have."""

from __future__ import annotations

from pathlib import Path

from bench.figures import Figure
from bench.lab import MIB, Member, push, run, seeded_file

RUNS = 7
SIZE = 256 * MIB


def measure(folder: Path, members: list[Member]) -> list[Figure]:
    """No mark: the figure is watched."""
    proxy = next(member for member in members if member.kind == "proxy")
    agents = [member for member in members if member.kind == "agent"]
    waits = []
    for number in range(RUNS):
        source = folder / "cold.bin"
        digest = seeded_file(source, SIZE, seed=100 + number)
        push(proxy.http, "bench/cold", source, digest)
        source.unlink()
        url = f"{agents[number % len(agents)].http}/v2/bench/cold/blobs/{digest}"
        waits.append(float(run("curl", "-sSf", "-o", "/dev/null", "-w", "%{time_starttransfer}", url)) * 1000)
    return [Figure("cold pull", "first byte, 256 MiB blob", "ms", tuple(waits))]
