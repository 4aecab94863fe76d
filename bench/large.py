"""Peak memory of every process while a layer of 5 GiB is pushed and pulled."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.figures import Figure
from bench.lab import GIB, MIB, cluster, peak_rss_bytes, push, seeded_file

SIZE = 5 * GIB


def measure(folder: Path) -> list[Figure]:
    """Mark: 200 MiB for each process. Two agents pull at once, and the proxy is read from as well."""
    source = folder / "large.bin"
    digest = seeded_file(source, SIZE, seed=5)
    with cluster(folder, origins=3, trackers=1, indexes=1, proxies=1, agents=2) as members:
        proxy = next(member for member in members if member.kind == "proxy")
        push(proxy.http, "bench/large", source, digest)
        source.unlink()
        pulls = [_pull(f"{member.http}/v2/bench/large/blobs/{digest}") for member in members if member.kind == "agent"]
        pulls.append(_pull(f"{proxy.http}/v2/bench/large/blobs/{digest}"))
        for pull in pulls:
            if pull.communicate()[0].split()[0].decode() != digest.removeprefix("sha256:"):
                raise RuntimeError("what was pulled is not what was pushed")
        kinds = dict.fromkeys(member.kind for member in members)
        peaks = {kind: tuple(peak_rss_bytes(m.pid) / MIB for m in members if m.kind == kind) for kind in kinds}
    return [Figure("5 GiB layer", f"{kind}, peak RSS", "MiB", (max(peak),), 200.0) for kind, peak in peaks.items()]


def _pull(url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sh", "-c", f"curl -sSf {url} | sha256sum"], stdout=subprocess.PIPE)
