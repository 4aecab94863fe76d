"""A crowd of agents that join one swarm: the load of the tracker bench, in a process of its own.

python -m bench.tracker_load PORT PID AGENTS CONNECTIONS

Over CONNECTIONS that are kept alive, or, when that is 0, over one of its own for each agent, which is opened when the
agent joins. Prints a line of JSON for each phase: `join`, all agents within a second; `again`, they announce again and
again, each time as soon as the last answer is there. It asks by sockets and bytes alone, and never sleeps: to wake a
process on the same machine is work for the kernel of the other side that no tracker has in earnest.
"""

from __future__ import annotations

import gc
import json
import os
import random
import select
import socket
import statistics
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.lab import cpu_times
from kraken.core.digest import Digest
from kraken.core.metainfo import swarm_id
from kraken.core.peers import Role, peer_id
from kraken.core.pieces import GIB, piece_length_for
from kraken.runtime.descriptors import allow_descriptors
from kraken.tracker.messages import AnnounceRequest, SwarmAnnounce, decode_reply, encode

JOIN_SECONDS = 1.0
CALM_SECONDS = 1.5
"""After the crowd has joined: by then the swarm is young no more, and no answer is held."""

ANNOUNCES = 150_000
PEERS_WANTED = 20
_HEAD = (
    b"POST /announce HTTP/1.1\r\nHost: 127.0.0.1:5300\r\nUser-Agent: kraken\r\nAccept-Encoding: identity\r\n"
    b"Accept: */*\r\nContent-Length: %d\r\nContent-Type: application/octet-stream\r\n\r\n%b"
)


@dataclass(slots=True)
class Line:
    """A connection, the agent that waits on it for an answer, and since when."""

    sock: socket.socket
    agent: int = -1
    since: float = 0.0
    received: bytes = b""


@dataclass(slots=True)
class Crowd:
    """Agents with their requests, and the connections that they have."""

    port: int
    requests: list[bytes]
    lines: dict[int, Line] = field(default_factory=dict)
    free: deque[Line] = field(default_factory=deque)
    poll: select.epoll = field(default_factory=select.epoll)
    last_answer: bytes = b""

    def socket_at(self, address: str) -> Line:
        """A connection that is not open yet, from an address of loopback."""
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((address, 0))
        sock.setblocking(False)
        line = self.lines[sock.fileno()] = Line(sock)
        return line

    def connect(self, line: Line) -> None:
        line.sock.connect_ex(("127.0.0.1", self.port))
        self.poll.register(line.sock.fileno(), select.EPOLLOUT)

    def ask(self, line: Line, agent: int) -> None:
        line.agent, line.since = agent, time.perf_counter()
        line.sock.send(self.requests[agent])

    def answered(self) -> Iterator[Line]:
        """The connections whose answers have come whole by now; those that have just been opened ask."""
        for descriptor, event in self.poll.poll(0, 4096):
            line = self.lines[descriptor]
            if event & select.EPOLLOUT:
                self.poll.modify(descriptor, select.EPOLLIN)
                line.sock.send(self.requests[line.agent])
                continue
            line.received += line.sock.recv(65536)
            if is_whole(line.received):
                self.last_answer, line.received = line.received, b""
                yield line

    def open(self, connections: int) -> None:
        """Connections that are there before anybody joins."""
        for _ in range(connections):
            line = self.socket_at("127.0.0.1")
            line.sock.setblocking(True)
            line.sock.connect(("127.0.0.1", self.port))
            line.sock.setblocking(False)
            self.poll.register(line.sock.fileno(), select.EPOLLIN)
            self.free.append(line)

    def join(self, own: bool) -> tuple[list[float], float]:
        """Everybody joins at a random moment of a second: connects, where it has no connection, and announces.

        Returns: the seconds that each waited for its answer, and within how many seconds all of them joined.
        """
        lines = [self.socket_at(f"127.1.{agent >> 8}.{agent & 255}") for agent in range(len(self.requests) * own)]
        begun = time.perf_counter()
        joins = deque(sorted((begun + random.random() * JOIN_SECONDS, agent) for agent in range(len(self.requests))))
        waited: list[float] = []
        last = begun
        while len(waited) < len(self.requests):
            while joins and joins[0][0] <= (now := time.perf_counter()) and (own or self.free):
                _, agent = joins.popleft()
                last = now
                if own:
                    lines[agent].agent, lines[agent].since = agent, now
                    self.connect(lines[agent])
                else:
                    self.ask(self.free.popleft(), agent)
            for line in self.answered():
                waited.append(time.perf_counter() - line.since)
                self.free.append(line)
        return waited, last - begun

    def again(self) -> None:
        """Everybody announces again, each as soon as there is a connection for it."""
        agents = len(self.requests)
        asked = done = 0
        for line in self.free:
            self.ask(line, asked % agents)
            asked += 1
        while done < ANNOUNCES:
            for line in self.answered():
                done += 1
                if asked < ANNOUNCES:
                    self.ask(line, asked % agents)
                    asked += 1


def is_whole(data: bytes) -> bool:
    """Whether an answer is here to its end. Raises: RuntimeError, when it is not what it should be."""
    if not data.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"the tracker answered {data[:200]!r}")
    head, end, body = data.partition(b"\r\n\r\n")
    at = head.find(b"Content-Length: ") + 16
    return bool(end) and len(body) == int(head[at:].partition(b"\r")[0])


def a_request(agent: int, digest: Digest) -> bytes:
    """The announce of an agent as it stands on the wire."""
    swarm = SwarmAnnounce(str(digest), swarm_id(digest, GIB, piece_length_for(GIB)), PEERS_WANTED)
    body = encode(AnnounceRequest(peer_id(agent.to_bytes(12, "big")), None, 5302, Role.AGENT, "", [swarm]))
    return _HEAD % (len(body), body)


def main() -> None:
    port, pid, agents, connections = map(int, sys.argv[1:])
    allow_descriptors(agents + 256)
    digest = Digest.of(os.urandom(8))
    crowd = Crowd(port, [a_request(agent, digest) for agent in range(agents)])
    crowd.open(connections)
    gc.disable()
    before = cpu_times(pid)
    waited, spread = crowd.join(own=not connections)
    after = cpu_times(pid)
    cuts = statistics.quantiles(waited, n=100)
    latency = {"p50": cuts[49], "p99": cuts[98], "max": max(waited), "spread": spread}
    tell("join", before, after, agents, latency)
    time.sleep(CALM_SECONDS)
    before = cpu_times(pid)
    crowd.again()
    after = cpu_times(pid)
    peers = decode_reply(crowd.last_answer.partition(b"\r\n\r\n")[2]).swarms[0].peers
    tell("again", before, after, ANNOUNCES, {"peers": len(peers)})


def tell(
    phase: str, before: tuple[float, float], after: tuple[float, float], announces: int, more: dict[str, float]
) -> None:
    user, system = after[0] - before[0], after[1] - before[1]
    print(json.dumps({"phase": phase, "user": user / announces, "system": system / announces, **more}), flush=True)


if __name__ == "__main__":
    main()
