"""One GET of a blob beside four ranges of a quarter each at once, as containerd reads a layer: wall seconds.

The blob is new each time: its agent fetches it from three origins, and then has it in its cache. Where nothing limits
the agent, what is measured is the machine, which also runs the origins; so it is measured behind a link as well.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure
from bench.lab import MIB, Member, cluster, push, seeded_file

RUNS = 7
READERS = 4
SIZE = 256 * MIB
LINK = 125_000_000
"""Bytes per second that come in at an agent behind 1 Gbit/s."""

_WHOLE = (range(SIZE),)
_QUARTERS = tuple(range(at, at + SIZE // READERS) for at in range(0, SIZE, SIZE // READERS))
_BEHIND_A_LINK = f"agent: {{bandwidth: {{receive_bytes_per_second: {LINK}}}}}\n"


@dataclass(frozen=True, slots=True)
class _Run:
    """Seconds of a pull that the swarm serves, and of the same again."""

    cold: float
    cached: float


def measure(folder: Path) -> list[Figure]:
    """No mark: whoever reads in ranges should not wait longer."""
    one, four = _runs(folder, "")
    one_behind, four_behind = _runs(folder, _BEHIND_A_LINK)
    return [
        *_figures("cold", [each.cold for each in one], [each.cold for each in four]),
        *_figures("cold, 1 Gbit/s", [each.cold for each in one_behind], [each.cold for each in four_behind]),
        *_figures("cached", [each.cached for each in one], [each.cached for each in four]),
    ]


def _runs(folder: Path, settings: str) -> tuple[list[_Run], list[_Run]]:
    """Runs of one GET and as many of the ranges, in turn; those of the first turn, which warms up, are left out."""
    one: list[_Run] = []
    four: list[_Run] = []
    with cluster(folder, settings, origins=3, trackers=1, indexes=1, proxies=1, agents=1) as members:
        for turn in range(RUNS + 1):
            order = [(one, _WHOLE, 2 * turn), (four, _QUARTERS, 2 * turn + 1)]
            for runs, spans, seed in order if turn % 2 else reversed(order):
                url = _new_blob(folder, members, seed=1000 + seed)
                runs.append(_Run(cold=_seconds(url, spans), cached=_seconds(url, spans)))
    return one[1:], four[1:]


def _figures(state: str, one: Sequence[float], four: Sequence[float]) -> list[Figure]:
    ratios = tuple(mine / other for mine, other in zip(four, one, strict=True))
    return [
        Figure("ranges", f"{state}: one GET of 256 MiB", "s", tuple(one)),
        Figure("ranges", f"{state}: {READERS} ranges at once", "s", tuple(four)),
        Figure("ranges", f"{state}: {READERS} ranges / one GET", "ratio", ratios),
    ]


def _new_blob(folder: Path, members: list[Member], seed: int) -> str:
    """Push a blob that the agent does not have. Returns: its URL there."""
    proxy, agent = (next(each for each in members if each.kind == kind) for kind in ("proxy", "agent"))
    source = folder / "ranges.bin"
    digest = seeded_file(source, SIZE, seed)
    push(proxy.http, "bench/ranges", source, digest)
    source.unlink()
    return f"{agent.http}/v2/bench/ranges/blobs/{digest}"


def _seconds(url: str, spans: Sequence[range]) -> float:
    """Until all spans of the blob are here, each read by a client of its own."""
    started = time.monotonic()
    clients = [
        subprocess.Popen(("curl", "-sSf", "-o", "/dev/null", "-r", f"{span.start}-{span.stop - 1}", url))
        for span in spans
    ]
    ended = [client.wait() for client in clients]
    if any(ended):
        raise RuntimeError(f"{url} was not served in {len(spans)} parts")
    return time.monotonic() - started
