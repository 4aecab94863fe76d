"""What the benches share: processes with their CPU time and memory, free ports, a cluster, seeded bytes."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
GIB = 1024 * MIB

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system CPU seconds that these processes have used so far."""
    return sum(sum(_ticks(pid)) for pid in pids) / _TICKS


def cpu_times(pid: int) -> tuple[float, float]:
    """User and system CPU seconds that a process has used so far."""
    user, system = _ticks(pid)
    return user / _TICKS, system / _TICKS


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return _status(pid, "VmRSS")


def peak_rss_bytes(pid: int) -> int:
    """The most resident memory that a process ever had."""
    return _status(pid, "VmHWM")


def children(pid: int) -> list[int]:
    """The direct children of a process."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def free_port() -> int:
    """A port of loopback below the ephemeral range at which nobody listens."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something is so. Raises: TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("what the bench waits for did not happen")
        time.sleep(0.02)


def answers(port: int) -> bool:
    """Whether somebody listens on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def process(command: Sequence[str], log: Path, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A child process, ended by its own pid."""
    with log.open("ab") as out, subprocess.Popen(command, stdout=out, stderr=out, env=env) as child:
        try:
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()


@dataclass(frozen=True, slots=True)
class Member:
    """A component of a running cluster."""

    kind: str
    http: str
    pid: int


@contextmanager
def cluster(folder: Path, settings: str = "", **counts: int) -> Iterator[list[Member]]:
    """A cluster of processes.

    Args: settings, YAML, by kind of component; counts, of origins, trackers, indexes, proxies and agents.
    """
    data, overlay = folder / "cluster", folder / "cluster.yaml"
    overlay.write_text(settings)
    flags = [word for kind, number in counts.items() for word in (f"--{kind}", str(number))]
    base = next(port for port in iter(free_port, None) if not any(answers(port + step) for step in range(40)))
    command = [sys.executable, "-m", "kraken", "dev", "--processes", "--data", str(data), "--base-port", str(base)]
    with process([*command, "--config", str(overlay), *flags], folder / "cluster.log"):
        endpoints = data / "endpoints.json"
        until(endpoints.exists)
        rows = json.loads(endpoints.read_text())
        yield [Member(row["component"], _url(row["http"]), row["pid"]) for row in rows]
    shutil.rmtree(data, ignore_errors=True)


def seeded_file(path: Path, size: int, seed: int = 1) -> str:
    """Write `size` bytes that do not compress. Returns: their digest."""
    hasher = hashlib.sha256()
    rng = random.Random(seed)
    with path.open("wb") as out:
        for at in range(0, size, MIB):
            data = rng.randbytes(min(MIB, size - at))
            hasher.update(data)
            out.write(data)
    return f"sha256:{hasher.hexdigest()}"


def run(*command: str) -> str:
    """The output of a command. Raises: CalledProcessError."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def push(registry: str, repository: str, path: Path, digest: str) -> float:
    """Push a blob as docker does: POST, a streamed PATCH, PUT. Returns: the seconds that it took."""
    started = time.monotonic()
    location = _location(registry, run("curl", "-sSi", "-X", "POST", f"{registry}/v2/{repository}/blobs/uploads/"))
    headers = ("-H", "Transfer-Encoding: chunked", "-H", "Content-Type: application/octet-stream", "-H", "Expect:")
    location = _location(registry, run("curl", "-sSi", "-X", "PATCH", *headers, "-T", str(path), location))
    mark = "&" if "?" in location else "?"
    answer = run("curl", "-sSi", "-X", "PUT", "-H", "Content-Length: 0", f"{location}{mark}digest={digest}")
    if " 201 " not in answer:
        raise RuntimeError(f"the push was answered {answer!r}")
    return time.monotonic() - started


def _location(registry: str, answer: str) -> str:
    for line in answer.splitlines():
        name, _, value = line.partition(":")
        if name.lower() == "location":
            value = value.strip()
            return value if value.startswith("http") else registry + value
    raise RuntimeError(f"no Location in {answer!r}")


def _status(pid: int, field: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith(f"{field}:"))


def _ticks(pid: int) -> tuple[int, int]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


def _url(text: str) -> str:
    return text if text.startswith("http") else f"http://{text}"
