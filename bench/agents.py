"""CPU of eight agents that fetch a blob from one origin and from each other, all on this machine, without any limit.

Counted is what all of them and the origin use, until the last has the whole, for each GB that an agent has got.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen

from bench import raw_receive, raw_sendfile
from bench.figures import Figure
from bench.lab import GIB, seeded_file
from bench.talking import child, said, tell
from kraken.storage.hashing import Verify

AGENTS = 8
RUNS = 3
SIZE = 1 * GIB

_MARKS = {Verify.BLOB: ("BLAKE3 and SHA-256", 1.8), Verify.PIECES: ("BLAKE3 alone", 1.0)}


def measure(folder: Path) -> list[Figure]:
    """Marks: 1.8 with both hashes, 1.0 with BLAKE3 alone."""
    source, target = folder / "agents.bin", folder / "agents.target"
    digest = seeded_file(source, SIZE, seed=4)
    limit = tuple(raw_sendfile.cost(source) + raw_receive.cost(source, target) for _ in range(RUNS + 1))[1:]
    target.unlink()
    figures = [Figure("agents", "bare sendfile, recv_into, BLAKE3 and pwrite", "CPU s/GB", limit)]
    with child("bench.peer_child", "send", str(folder / "sender"), "", str(source), digest) as origin:
        about = said(origin)
        source.unlink()
        metainfo = folder / "agents.metainfo"
        metainfo.write_text(str(about["metainfo"]))
        for verify, (hashes, mark) in _MARKS.items():
            costs = _costs(folder, origin, str(about["peer"]), metainfo, verify)
            figures.append(Figure("agents", f"{AGENTS} agents and an origin, {hashes}", "CPU s/GB", costs, mark))
        tell(origin, "end")
        said(origin)
    shutil.rmtree(folder / "sender")
    return figures


def _costs(folder: Path, origin: Popen[bytes], address: str, metainfo: Path, verify: Verify) -> tuple[float, ...]:
    """CPU s for each GB delivered, by run; the first run, which warms up, is left out."""
    places = [folder / f"agent-{number}" for number in range(AGENTS)]
    costs = []
    with ExitStack() as stack:
        how = ("", "off", str(metainfo), str(RUNS), verify.value)
        agents = [stack.enter_context(child("bench.peer_child", "pull", str(place), *how)) for place in places]
        addresses = [str(said(agent)["peer"]) for agent in agents]
        for _ in range(RUNS + 1):
            tell(origin, "cost")
            said(origin)
            for agent in agents:
                said(agent)
            for number, agent in enumerate(agents):
                others = addresses[:number] + addresses[number + 1 :]
                tell(agent, " ".join((f"origin={address}", *(f"agent={other}" for other in others))))
            for agent in agents:
                said(agent)
            for agent in agents:
                tell(agent, "on")
            tell(origin, "cost")
            spent = sum(float(said(agent)["served_cpu_seconds"]) for agent in agents)
            spent += float(said(origin)["cpu_seconds"])
            costs.append(spent / (AGENTS * SIZE / 1e9))
    for place in places:
        shutil.rmtree(place)
    return tuple(costs[1:])
