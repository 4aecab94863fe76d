"""CPU of an agent's event loop for each piece of 1 MiB, with fourteen neighbours: one piece in, one out, and the news.

CPU of the loop's thread, user and system: copies out of sockets, sending, messages, timers, what is decided. Hashing
and writing are in other threads.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import median

from bench import raw_receive, raw_sendfile
from bench.figures import Figure
from bench.lab import GIB, MIB, seeded_file
from bench.talking import Said, child, said, tell
from kraken.core.digest import Digest
from kraken.core.metainfo import metainfo_from_blocks
from kraken.storage.hashing import BlockHasher, combine

RUNS = 5
SIZE = 1 * GIB


def measure(folder: Path) -> list[Figure]:
    """Mark: 0.5 ms of the loop for each piece."""
    source, metainfo = folder / "loop.bin", folder / "loop.metainfo"
    digest = Digest.parse(seeded_file(source, SIZE, seed=3))
    metainfo.write_text(_metainfo_of(source, digest))
    limit = tuple(1000 * (raw_receive.cost(source) + raw_sendfile.cost(source)) / 1e9 * MIB for _ in range(RUNS))
    runs: list[Said] = []
    how = ("pull", str(folder / "agent"), "", "off", str(metainfo), str(RUNS), "pieces")
    with child("bench.peer_child", *how) as agent:
        address = str(said(agent)["peer"])
        with child("bench.loop_crowd", str(source), str(metainfo), address) as crowd:
            for _ in range(RUNS + 1):
                said(agent)
                tell(crowd, "join")
                tell(agent, "")
                runs.append(said(agent))
                said(crowd)
                tell(agent, "on")
                said(agent)
            tell(crowd, "end")
    source.unlink()
    shutil.rmtree(folder / "agent")

    pieces = SIZE / MIB

    def per_piece(key: str) -> tuple[float, ...]:
        return tuple(1000 * float(each[key]) / pieces for each in runs[1:])  # the first run warms up

    ours = per_piece("loop_seconds")
    given = tuple(float(each["sent_bytes"]) / SIZE for each in runs[1:])
    return [
        Figure("loop", "of the event loop, a piece of 1 MiB in and out, 14 neighbours", "CPU ms", ours, 0.5),
        Figure("loop", "the same by the bare loop's cost", "ratio", tuple(it / median(limit) for it in ours)),
        Figure("loop", "bare recv_into and sendfile of 1 MiB", "CPU ms", limit),
        Figure("loop", "of all threads", "CPU ms", per_piece("cpu_seconds")),
        Figure("loop", "pieces out for each piece in", "ratio", given),
    ]


def _metainfo_of(source: Path, digest: Digest) -> str:
    blocks = BlockHasher()
    with source.open("rb") as file:
        while chunk := file.read(MIB):
            blocks.update(chunk)
    return metainfo_from_blocks(digest, SIZE, blocks.block_hashes(), combine).encode().hex()
