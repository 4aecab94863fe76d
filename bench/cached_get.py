"""CPU seconds per GB of a GET from an agent's cache, beside nginx on the same file in the same run."""

from __future__ import annotations

import os
from pathlib import Path

from bench.figures import Figure
from bench.lab import GIB, Member, answers, children, cpu_seconds, free_port, process, push, run, seeded_file, until

RUNS = 5
SIZE = GIB

_NGINX = """
{user}worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 64; }}
http {{ access_log off; sendfile on; client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2;
  fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port}; root {root}; }} }}
"""


def measure(folder: Path, members: list[Member]) -> list[Figure]:
    """Mark: at most twice nginx's CPU."""
    source = folder / "cached.bin"
    digest = seeded_file(source, SIZE, seed=2)
    proxy = next(member for member in members if member.kind == "proxy")
    agent = next(member for member in members if member.kind == "agent")
    push(proxy.http, "bench/cached", source, digest)
    url = f"{agent.http}/v2/bench/cached/blobs/{digest}"
    get(url)  # fetch it from the swarm
    port = free_port()
    config = folder / "nginx.conf"
    user = "user root; " if os.geteuid() == 0 else ""  # its worker must read what root's folder holds
    config.write_text(_NGINX.format(user=user, folder=folder, port=port, root=folder))
    ours, theirs = [], []
    with process(["nginx", "-c", str(config)], folder / "nginx.log") as nginx:
        until(lambda: answers(port))
        pids = [nginx.pid, *children(nginx.pid)]
        get(f"http://127.0.0.1:{port}/cached.bin")
        for _ in range(RUNS):
            ours.append(_cost([agent.pid], url))
            theirs.append(_cost(pids, f"http://127.0.0.1:{port}/cached.bin"))
    source.unlink()
    ratios = tuple(mine / other for mine, other in zip(ours, theirs, strict=True))
    return [
        Figure("cached GET", "agent", "CPU s/GB", tuple(ours)),
        Figure("cached GET", "nginx", "CPU s/GB", tuple(theirs)),
        Figure("cached GET", "agent / nginx", "ratio", ratios, 2.0, "x nginx"),
    ]


def get(url: str) -> None:
    """Fetch and drop a body."""
    run("curl", "-sSf", "-o", "/dev/null", url)


def _cost(pids: list[int], url: str) -> float:
    """CPU seconds per GB of a server; four times over, for CPU is counted in hundredths of a second."""
    before = cpu_seconds(pids)
    for _ in range(4):
        get(url)
    return (cpu_seconds(pids) - before) / (4 * SIZE / 1e9)
