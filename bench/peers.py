"""CPU seconds per GB of a sender and of a receiver, over loopback, each a process of its own.

The receiver does all that an agent does with a blob: BLAKE3 of each piece, pwrite, SHA-256 of the whole, fsync and
rename; then without the SHA-256, as `download.verify: pieces` has it; and that over TLS. What it writes over was
written before, so that no run pays for memory that is touched for the first time.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from bench import raw_receive, raw_sendfile
from bench.figures import Figure
from bench.lab import GIB, seeded_file
from bench.talking import Said, child, said, tell
from kraken.p2p.settings import TlsMode
from kraken.storage.hashing import Verify

RUNS = 5

Way = tuple[TlsMode, Verify]

WAYS: tuple[Way, Way, Way] = (
    (TlsMode.OFF, Verify.BLOB),
    (TlsMode.OFF, Verify.PIECES),
    (TlsMode.REQUIRED, Verify.PIECES),
)
"""How the receiver gets the blob; what was sent in plain is told of the second."""


def measure(folder: Path) -> list[Figure]:
    """Marks: 0.10 to send, 1.5 to receive with both hashes, 0.65 with BLAKE3 alone; for pieces of 1 and of 2 MiB."""
    return [*_measure(folder, 1 * GIB, "1 MiB pieces"), *_measure(folder, 4 * GIB, "2 MiB pieces")]


def _measure(folder: Path, size: int, what: str) -> list[Figure]:
    source = folder / "peers.bin"
    digest = seeded_file(source, size)
    certificates = folder / "certificates"
    _make_certificates(certificates)
    with child("bench.peer_child", "send", str(folder / "sender"), str(certificates), str(source), digest) as sender:
        limit = tuple(raw_sendfile.cost(source) for _ in range(RUNS))
        written_over = folder / "peers.target"
        receive_limit = tuple(raw_receive.cost(source, written_over) for _ in range(RUNS + 1))[1:]
        written_over.unlink()
        about = said(sender)
        source.unlink()
        metainfo = folder / "peers.metainfo"
        metainfo.write_text(str(about["metainfo"]))
        received: dict[Way, list[Said]] = {}
        sent: dict[Way, list[Said]] = {}
        for way in WAYS:
            mode, verify = way
            how = (mode.value, str(metainfo), str(RUNS), verify.value)
            received[way], sent[way] = [], []
            with child("bench.peer_child", "pull", str(folder / "receiver"), str(certificates), *how) as receiver:
                said(receiver)
                for _ in range(RUNS + 1):
                    said(receiver)
                    tell(receiver, f"origin={about['peer']}")
                    received[way].append(said(receiver))
                    tell(sender, "cost")
                    sent[way].append(said(sender))
                    tell(receiver, "on")
                    said(receiver)
        tell(sender, "end")
        said(sender)
    shutil.rmtree(folder / "sender")
    shutil.rmtree(folder / "receiver")
    shutil.rmtree(certificates)

    def per_gb(said: list[Said], key: str) -> tuple[float, ...]:
        return tuple(float(each[key]) / (size / 1e9) for each in said[1:])  # the first run warms up

    both, plain, tls = WAYS
    return [
        Figure("peers", f"send, {what}", "CPU s/GB", per_gb(sent[plain], "cpu_seconds"), 0.10),
        Figure("peers", f"bare sendfile loop, {what}", "CPU s/GB", limit),
        Figure("peers", f"receive, BLAKE3 and SHA-256, {what}", "CPU s/GB", per_gb(received[both], "cpu_seconds"), 1.5),
        Figure("peers", f"receive, BLAKE3 alone, {what}", "CPU s/GB", per_gb(received[plain], "cpu_seconds"), 0.65),
        Figure("peers", f"bare loop of recv_into, BLAKE3 and pwrite, {what}", "CPU s/GB", receive_limit),
        Figure("peers", f"receive, wall, {what}", "s/GB", per_gb(received[both], "seconds")),
        Figure("peers", f"send over TLS, {what}", "CPU s/GB", per_gb(sent[tls], "cpu_seconds")),
        Figure("peers", f"receive over TLS, BLAKE3 alone, {what}", "CPU s/GB", per_gb(received[tls], "cpu_seconds")),
        Figure("peers", f"receive over TLS, wall, BLAKE3 alone, {what}", "s/GB", per_gb(received[tls], "seconds")),
        Figure("peers", f"receive, wall, BLAKE3 alone, {what}", "s/GB", per_gb(received[plain], "seconds")),
    ]


def _make_certificates(folder: Path) -> None:
    """An authority and one certificate for both peers: ca.pem, node.pem and node.key."""
    folder.mkdir(exist_ok=True)
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    new = ("openssl", "req", "-x509", *curve, "-days", "365")
    for command in (
        (*new, "-subj", "/CN=bench", "-keyout", "ca.key", "-out", "ca.pem"),
        (*new, "-subj", "/CN=node", "-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "node.key", "-out", "node.pem"),
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
