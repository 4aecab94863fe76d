"""How much waits in the kernel: as much as goes within a moment, whatever the speed of the link."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from tests.helpers.tcp import tcp_pair

from kraken.core.pieces import KIB, MIB
from kraken.p2p.io.send_queue import SendQueue


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    here, there = tcp_pair()
    with here, there:
        yield here


def drain(queue: SendQueue, rate: float, times: int) -> None:
    """A link of so many bytes per second takes half of what waits, again and again."""
    now = 0.0
    for _ in range(times):
        queue.full(now)
        now += queue.limit / 2 / rate
        queue.drained(now)


@pytest.mark.parametrize(
    ("rate", "limit"),
    [(20e3, 32 * KIB), (1e6, 32 * KIB), (15e6, 512 * KIB), (125e6, 4 * MIB), (1e9, 4 * MIB)],
)
def test_the_queue_is_what_a_link_takes_in_a_moment(sock: socket.socket, rate: float, limit: int) -> None:
    queue = SendQueue(sock)

    drain(queue, rate, times=20)

    assert queue.limit == limit
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == limit


def test_a_link_that_becomes_slow_gets_a_short_queue_again(sock: socket.socket) -> None:
    queue = SendQueue(sock)
    drain(queue, 1e9, times=20)

    drain(queue, 1e6, times=20)

    assert queue.limit == 64 * KIB  # half of it goes in less than 50 ms


def test_a_queue_that_was_never_full_says_nothing_of_the_link(sock: socket.socket) -> None:
    queue = SendQueue(sock)

    queue.drained(5.0)
    queue.full(6.0)
    queue.drained(6.05)
    queue.drained(6.051)

    assert queue.limit == 32 * KIB


def test_the_kernel_takes_little_more_than_the_queue_of_what_nobody_reads(sock: socket.socket) -> None:
    """Beyond the queue there is what is under way, as much as the other side has room for."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MIB)
    sock.setblocking(False)
    queue = SendQueue(sock)

    taken = 0
    try:
        while True:
            taken += sock.send(bytes(64 * KIB))
    except BlockingIOError:
        pass

    room = taken - queue.limit
    assert 0 < room < 3 * MIB
