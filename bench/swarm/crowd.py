"""A crowd of clients in one process: each pulls from the agent of its host, through a socket that was made there."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from bench.swarm.namespaces import LanHost
from kraken.core.peers import Address
from kraken.core.pieces import KIB

LAYERS_AT_ONCE = 3
"""As containerd has it: max_concurrent_downloads."""

_BUFFER_BYTES = 256 * KIB
_MAX_HEADER = 16 * KIB


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob that everybody pulls."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Pulled:
    """What became of one host's pull. Seconds are from its own start."""

    seconds: float
    read_seconds: float
    """When a reader at line rate that takes the bytes as they come has the last one; of one blob only."""


class _Download(asyncio.BufferedProtocol):
    """One GET on one connection. `done` holds the second of the loop at which a reader at line rate has read it all."""

    def __init__(self, layer: Layer, rate: float) -> None:
        """Args: rate, of the reader, in bytes per second."""
        loop = asyncio.get_running_loop()
        self.done: asyncio.Future[float] = loop.create_future()
        self._time = loop.time
        self._layer = layer
        self._rate = rate
        self._read_at = self._time()
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._header: bytes | None = b""  # what of it is here; None once it has been read
        self._hasher = hashlib.sha256()
        self._left = layer.size

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = self._buffer[:nbytes]
        if self._header is None:
            self._take(data)
            return
        header, end, body = (self._header + data).partition(b"\r\n\r\n")
        self._header = None if end else header
        if len(header) > _MAX_HEADER or (end and header.split(b" ", 2)[1] != b"200"):
            self._fail(header + b" " + body)
        elif end:
            self._take(memoryview(body))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or EOFError(f"{self._left} bytes of {self._layer.digest} are missing"))

    def _take(self, data: memoryview) -> None:
        self._hasher.update(data)
        self._left -= len(data)
        self._read_at = max(self._read_at, self._time()) + len(data) / self._rate
        if self._left > 0 or self.done.done():
            return
        if self._left < 0 or f"sha256:{self._hasher.hexdigest()}" != self._layer.digest:
            self._fail(b"other bytes than those of the digest")
        else:
            self.done.set_result(self._read_at)

    def _fail(self, why: bytes) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(f"{self._layer.digest}: {why[:500]!r}"))


async def pull_by_all(
    places: Sequence[tuple[LanHost, Address]],
    repository: str,
    layers: Sequence[Layer],
    *,
    arrivals: float,
    rate: float,
    rng: random.Random,
) -> list[Pulled]:
    """Let every host pull all layers from its own agent.

    Args: places, each host and the HTTP address of its agent; arrivals, seconds within which they begin, evenly at
    random; rate, that of a reader, bytes per second.
    Raises: RuntimeError, when an agent answers anything but the blob; OSError, EOFError.
    """
    waits = [rng.uniform(0.0, arrivals) for _ in places]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_pull(host, agent, repository, layers, wait, rate))
            for (host, agent), wait in zip(places, waits, strict=True)
        ]
    return [task.result() for task in tasks]


async def _pull(
    host: LanHost, agent: Address, repository: str, layers: Sequence[Layer], wait: float, rate: float
) -> Pulled:
    await asyncio.sleep(wait)
    now, turns = asyncio.get_running_loop().time, asyncio.Semaphore(LAYERS_AT_ONCE)
    began = now()

    async def one(layer: Layer) -> float:
        async with turns:
            return await _get(host, agent, f"/v2/{repository}/blobs/{layer.digest}", layer, rate)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(layer)) for layer in layers]
    return Pulled(now() - began, max(task.result() for task in tasks) - began)


async def _get(host: LanHost, agent: Address, path: str, layer: Layer, rate: float) -> float:
    loop = asyncio.get_running_loop()
    with host.namespace.entered():
        sock = socket.socket()
    sock.setblocking(False)
    await loop.sock_connect(sock, (agent.host, agent.port))
    transport, download = await loop.create_connection(lambda: _Download(layer, rate), sock=sock)
    try:
        transport.write(f"GET {path} HTTP/1.1\r\nHost: {agent}\r\n\r\n".encode())
        return await download.done
    finally:
        transport.close()
