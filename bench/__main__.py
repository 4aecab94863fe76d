"""Run the benches: all of them, or those that are named. Prints a table, and writes bench/results/TIME.json."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import agents, bandwidth, cached_get, cold_pull, idle, large, loop, peers, pushes, ranges, registry, tracker
from bench.figures import Figure, save, show
from bench.lab import cluster
from bench.swarm import command as swarm

_IN_A_CLUSTER = ("idle", "cold", "cached")
_ALONE: dict[str, Callable[[Path], list[Figure]]] = {
    "ranges": ranges.measure,
    "push": pushes.measure,
    "peers": peers.measure,
    "loop": loop.measure,
    "agents": agents.measure,
    "large": large.measure,
    "registry": registry.measure,
    "bandwidth": lambda _folder: bandwidth.measure(),
    "tracker": tracker.measure,
}
NAMES = (*_IN_A_CLUSTER, *_ALONE)


def main() -> None:
    if sys.argv[1:2] == ["swarm"]:  # wants root, and has options of its own
        swarm.main(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which benches; all by default")
    parser.add_argument("--folder", type=Path, help="where data goes while it runs; needs 20 GiB")
    options = parser.parse_args()
    wanted: list[str] = options.names or list(NAMES)
    if unknown := set(wanted) - set(NAMES):
        parser.error(f"{', '.join(sorted(unknown))}: the benches are {', '.join(NAMES)}")
    folder = Path(tempfile.mkdtemp(prefix="kraken-bench-", dir=options.folder))
    figures: list[Figure] = []
    try:
        if set(_IN_A_CLUSTER) & set(wanted):
            figures += _in_a_cluster(folder, wanted)
        for name, measure in _ALONE.items():
            if name in wanted:
                figures += measure(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(figures)
    print(f"written to {save(figures, Path(__file__).parent / 'results')}")


def _in_a_cluster(folder: Path, wanted: list[str]) -> list[Figure]:
    figures: list[Figure] = []
    with cluster(folder, origins=3, trackers=2, indexes=2, proxies=1, agents=2) as members:
        if "idle" in wanted:
            figures += idle.measure(members)
        if "cold" in wanted:
            figures += cold_pull.measure(folder, members)
        if "cached" in wanted:
            figures += cached_get.measure(folder, members)
    return figures


if __name__ == "__main__":
    main()
