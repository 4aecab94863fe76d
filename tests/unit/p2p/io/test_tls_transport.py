"""One connection through TLS, with the test for its threads: what a job holds stays until the job is back."""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from tests.helpers.certificates import Authority
from tests.helpers.tcp import tcp_pair

from kraken.core.pieces import KIB
from kraken.p2p.io.tls_transport import TlsTransport
from kraken.p2p.io.transport import Burst
from kraken.runtime.threads import FileThreads
from kraken.security.cluster_tls import TlsContexts, TlsFiles, load_contexts

LARGE = 256 * KIB


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> TlsContexts:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    made = authority.issue_to_peer("node")
    return load_contexts(TlsFiles(made.certificate, made.key, authority.certificate))


class HeldThreads:
    """Threads that begin a job when they are told to, and not before."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []
        self.begun = 0

    def submit(self, fn: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        job: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting.append(lambda: job.set_result(fn(*args)))
        self.begun += 1
        return job

    async def run_all(self) -> None:
        """Do what waits, and let the loop hear of it."""
        waiting, self.waiting = self.waiting, []
        for job in waiting:
            job()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@dataclass
class User:
    """Takes bytes into one place, and gives away bursts."""

    room: memoryview | None = None
    bursts: list[Burst] = field(default_factory=list)
    received: int = 0
    gone: list[tuple[int, int, bool]] = field(default_factory=list)
    reason: str = ""
    when_sent: Callable[[], None] = lambda: None
    places: int = 0

    def place(self) -> memoryview | None:
        self.places += 1
        return None if self.room is None else self.room[self.received :] or None

    def arrived(self, count: int) -> None:
        self.received += count

    def burst(self) -> Burst | None:
        return self.bursts.pop(0) if self.bursts else None

    def sent(self, head: int, data: int, *, finished: bool) -> None:
        self.gone.append((head, data, finished))
        self.when_sent()

    def failed(self, reason: str) -> None:
        self.reason = self.reason or reason


@asynccontextmanager
async def connected(contexts: TlsContexts) -> AsyncIterator[tuple[TlsTransport, HeldThreads, ssl.SSLSocket]]:
    """A transport whose jobs wait for the test, and the other side, which blocks."""
    ours, theirs = tcp_pair()
    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(contexts.server.wrap_socket, theirs, server_side=True)
        mine = contexts.client.wrap_socket(ours)
        other = answering.result()
    mine.setblocking(False)
    other.settimeout(10)
    threads = HeldThreads()
    transport = TlsTransport(mine, cast("FileThreads", threads))
    try:
        yield transport, threads, other
    finally:
        transport.close()
        await threads.run_all()
        other.close()


async def test_what_a_job_works_on_is_not_given_back_before_it_ends(contexts: TlsContexts) -> None:
    freed: list[str] = []
    async with connected(contexts) as (transport, threads, other):
        user = User(room=memoryview(bytearray(LARGE)))
        transport.start(user)
        fd = transport._fd

        transport.close()
        transport.when_still(lambda: freed.append("memory"))

        assert freed == []
        assert os.fstat(fd)
        assert other.recv(1) == b""  # the other side knows at once
        await threads.run_all()
        assert freed == ["memory"]
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
        assert (user.received, user.reason) == (0, "")


async def test_without_a_job_memory_is_free_at_once(contexts: TlsContexts) -> None:
    freed: list[str] = []
    async with connected(contexts) as (transport, threads, _):
        transport.start(User())
        transport.close()

        transport.when_still(lambda: freed.append("memory"))

        assert freed == ["memory"]
        assert not threads.begun


async def test_one_job_at_a_time_has_the_connection(contexts: TlsContexts) -> None:
    async with connected(contexts) as (transport, threads, _):
        user = User(room=memoryview(bytearray(LARGE)))
        transport.start(user)
        assert threads.begun == 1

        user.bursts.append(Burst(b"a" * LARGE, -1, 0, 0))
        transport.write_on()
        transport.read_on()

        assert threads.begun == 1
        await threads.run_all()
        assert threads.begun == 2
        await threads.run_all()
        assert sum(head for head, _, _ in user.gone) > 0


async def test_no_place_is_asked_for_before_it_is_told_what_came_to_the_last_one(contexts: TlsContexts) -> None:
    async with connected(contexts) as (transport, threads, other):
        user = User(room=memoryview(bytearray(1000)), bursts=[Burst(b"a" * 32 * KIB, -1, 0, 0)])
        seen: list[tuple[int, int]] = []

        def queue_more() -> None:  # as an engine does when a slot has become free
            transport.write_on()
            seen.append((user.places, user.received))

        user.when_sent = queue_more
        transport.start(user)
        other.sendall(b"x" * 1000)
        await threads.run_all()

        assert seen == [(1, 0)]
        assert user.received == 1000


async def test_a_file_that_is_closed_meanwhile_is_sent_to_its_end_all_the_same(
    contexts: TlsContexts, tmp_path: Path
) -> None:
    data = os.urandom(64 * KIB)
    (tmp_path / "file").write_bytes(b"before" + data)
    async with connected(contexts) as (transport, threads, other):
        with (tmp_path / "file").open("rb") as file:
            user = User(bursts=[Burst(b"head", file.fileno(), 6, len(data))])
            transport.start(user)
        with tempfile.TemporaryFile() as usurper:  # it gets the number that the file had
            usurper.write(bytes(128 * KIB))
            usurper.flush()
            await threads.run_all()

        got = b""
        while len(got) < len(data) + 4:
            got += other.recv(64 * KIB)
        assert got == b"head" + data
        assert user.gone == [(4, len(data), True)]


async def test_a_file_that_is_too_short_ends_the_connection(contexts: TlsContexts, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(20 * KIB))
    async with connected(contexts) as (transport, threads, _):
        with (tmp_path / "file").open("rb") as file:
            user = User(bursts=[Burst(b"head", file.fileno(), 0, 64 * KIB)])
            transport.start(user)
            await threads.run_all()

        assert user.reason == "the file is shorter than the piece"


async def test_what_is_decrypted_already_is_taken_although_the_socket_is_silent(contexts: TlsContexts) -> None:
    async with connected(contexts) as (transport, threads, other):
        user = User(room=memoryview(bytearray(100)))
        transport.start(user)
        other.sendall(b"x" * 5000)  # one record, of which the first place takes a part
        async with asyncio.timeout(10):
            while user.received < 100:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)

        user.room = memoryview(bytearray(5000))
        transport.read_on()

        assert user.received == 5000
        assert not threads.begun


async def test_a_message_is_sent_on_the_loop_and_a_burst_in_a_thread(contexts: TlsContexts) -> None:
    async with connected(contexts) as (transport, threads, other):
        user = User(bursts=[Burst(b"hello", -1, 0, 0)])
        transport.start(user)

        assert user.gone == [(5, 0, True)]
        assert not threads.begun
        assert other.recv(100) == b"hello"
