"""What an announce costs a tracker, and how long a crowd waits for it.

15,000 agents join one swarm within a second, and announce again afterwards: over 256 connections that are kept alive,
and over one of its own for each agent. The tracker is a process on one core, the load another on another; three origins
answer what they are. Beside it, in the same run, a protocol in the tracker's place that only reads and writes.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from bench.figures import Figure
from bench.lab import answers, free_port, process, until

RUNS = 5
AGENTS = 15_000
CONNECTIONS = (256, 0)
ANNOUNCES_PER_CPU_SECOND = 60_000
ANSWER_SECONDS = 1.2

Said = dict[str, float]


def measure(folder: Path) -> list[Figure]:
    """Marks: 60,000 announces in a CPU second, which is 16.7 us for each; every answer within 1.2 s."""
    agents = min(AGENTS, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 512)
    rounds: dict[tuple[str, int], list[tuple[Said, Said]]] = {}
    with ExitStack() as stack:
        origins = [stack.enter_context(_origin()) for _ in range(3)]
        for _ in range(RUNS):
            for what, command in (("floor", _floor), ("tracker", _tracker)):
                for connections in CONNECTIONS:
                    said = _round(command(folder, origins), folder, agents, connections)
                    rounds.setdefault((what, connections), []).append(said)
    return [figure for connections in CONNECTIONS for figure in _figures(rounds, agents, connections)]


def _figures(rounds: dict[tuple[str, int], list[tuple[Said, Said]]], agents: int, connections: int) -> list[Figure]:
    over = f"{connections or agents} connections"
    joins = [join for join, _ in rounds["tracker", connections]]
    again = [again for _, again in rounds["tracker", connections]]
    floor = [again for _, again in rounds["floor", connections]]

    def figure(
        what: str, said: Sequence[Said], keys: Sequence[str], mark: float | None = None, unit: str = "us"
    ) -> Figure:
        scale = 1e6 if unit == "us" else 1e3
        runs = tuple(scale * sum(each[key] for key in keys) for each in said)
        return Figure("tracker", f"{what}, {over}", unit if unit == "ms" else "CPU us", runs, mark)

    cpu = ("user", "system")
    rate = tuple(1.0 / (each["user"] + each["system"]) for each in again)
    connecting = "announce" if connections else "connect and announce"
    return [
        figure("announce", again, cpu, 1e6 / ANNOUNCES_PER_CPU_SECOND),
        figure("announce, in the kernel", again, ("system",)),
        Figure("tracker", f"announces in a CPU second, {over}", "1/s", rate),
        figure("read and write only", floor, cpu),
        figure("read and write only, in the kernel", floor, ("system",)),
        figure(f"{connecting} while {agents} join", joins, cpu),
        figure("join to answer, p50", joins, ("p50",), unit="ms"),
        figure("join to answer, p99", joins, ("p99",), unit="ms"),
        figure("join to answer, longest", joins, ("max",), 1000 * ANSWER_SECONDS, unit="ms"),
        figure("all joined within", joins, ("spread",), unit="ms"),
    ]


def _round(command: tuple[list[str], int], folder: Path, agents: int, connections: int) -> tuple[Said, Said]:
    """What one crowd says of one server: of its joining, and of its announcing again."""
    arguments, port = command
    with process(arguments, folder / "tracker.log") as server:
        until(lambda: answers(port))
        _to_core(server.pid, 0)
        until(lambda: "bench.tracker_floor" in arguments or _is_ready(port))
        load = [sys.executable, "-m", "bench.tracker_load", str(port), str(server.pid), str(agents), str(connections)]
        with subprocess.Popen(load, stdout=subprocess.PIPE, text=True) as child:
            _to_core(child.pid, 1)
            out, _ = child.communicate(timeout=300)
    join, again = (json.loads(line) for line in out.splitlines())
    return join, again


def _tracker(folder: Path, origins: Sequence[str]) -> tuple[list[str], int]:
    port = free_port()
    config = folder / "tracker.json"  # YAML, too
    http = {"listen": f"127.0.0.1:{port}"}
    config.write_text(json.dumps({"component": "tracker", "http": http, "cluster": {"origins": list(origins)}}))
    return [sys.executable, "-m", "kraken", "tracker", "--config", str(config)], port


def _floor(_folder: Path, _origins: Sequence[str]) -> tuple[list[str], int]:
    port = free_port()
    return [sys.executable, "-m", "bench.tracker_floor", str(port)], port


def _is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz"):
            return True
    except URLError:  # 503: it has not heard of an origin yet
        return False


def _to_core(pid: int, core: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(pid, {cores[core]})


@contextmanager
def _origin() -> Iterator[str]:
    """An origin that says what it is, and nothing else. Gives its address."""

    class Card(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            peer_id = b"-KR0100-%012d" % port
            card = {"kind": "origin", "name": f"o{port}", "peer": "0.0.0.0:5002", "peer_id": peer_id.hex()}
            body = json.dumps(card).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Say nothing of a tracker that is gone before it has the answer."""

    port = free_port()
    with Quiet(("127.0.0.1", port), Card) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{port}"
        server.shutdown()
