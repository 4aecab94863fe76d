"""CPU seconds per GB of a sender and of a receiver, over loopback, each a process of its own.

The receiver does all that an agent does with a blob: BLAKE3 of each piece, pwrite, SHA-256 of the whole, fsync and
rename; and then without the SHA-256, as `download.verify: pieces` has it. What it writes over was written before, so
that no run pays for memory that is touched for the first time.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from bench import raw_sendfile
from bench.figures import Figure
from bench.lab import GIB, seeded_file
from kraken.storage.hashing import Verify

RUNS = 5

Said = dict[str, str | float]


def measure(folder: Path) -> list[Figure]:
    """Marks: 0.12 to send, 1.5 to receive with both hashes, 0.65 with BLAKE3 alone; for pieces of 1 and of 4 MiB."""
    return [*_measure(folder, 1 * GIB, "1 MiB pieces"), *_measure(folder, 4 * GIB, "4 MiB pieces")]


def _measure(folder: Path, size: int, what: str) -> list[Figure]:
    source = folder / "peers.bin"
    digest = seeded_file(source, size)
    with _child("send", str(folder / "sender"), str(source), digest) as sender:
        limit = tuple(raw_sendfile.cost(source) for _ in range(RUNS))
        about = _said(sender)
        source.unlink()
        metainfo = folder / "peers.metainfo"
        metainfo.write_text(str(about["metainfo"]))
        received: dict[Verify, list[Said]] = {}
        sent: list[Said] = []
        for verify in Verify:
            to = (str(folder / "receiver"), str(about["peer"]), str(metainfo), str(RUNS), verify.value)
            sent, received[verify] = [], []
            with _child("receive", *to) as receiver:
                for _ in range(RUNS + 1):
                    received[verify].append(_said(receiver))
                    sent.append(_ask(sender))
        _ask(sender, "end")
    shutil.rmtree(folder / "sender")
    shutil.rmtree(folder / "receiver")

    def per_gb(said: list[Said], key: str) -> tuple[float, ...]:
        return tuple(float(each[key]) / (size / 1e9) for each in said[1:])  # the first run warms up

    both, pieces = received[Verify.BLOB], received[Verify.PIECES]
    return [
        Figure("peers", f"send, {what}", "CPU s/GB", per_gb(sent, "cpu_seconds"), 0.12),
        Figure("peers", f"bare sendfile loop, {what}", "CPU s/GB", limit),
        Figure("peers", f"receive, BLAKE3 and SHA-256, {what}", "CPU s/GB", per_gb(both, "cpu_seconds"), 1.5),
        Figure("peers", f"receive, BLAKE3 alone, {what}", "CPU s/GB", per_gb(pieces, "cpu_seconds"), 0.65),
        Figure("peers", f"receive, wall, {what}", "s/GB", per_gb(both, "seconds")),
    ]


def _ask(child: subprocess.Popen[bytes], word: str = "cost") -> Said:
    """What the sender has spent since it was last asked."""
    assert child.stdin is not None
    child.stdin.write(f"{word}\n".encode())
    child.stdin.flush()
    return _said(child)


def _child(*args: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bench.peer_child", *args]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _said(child: subprocess.Popen[bytes]) -> Said:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise RuntimeError("a child of the bench ended early")
    answer: Said = json.loads(line)
    return answer
