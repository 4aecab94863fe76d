"""Ports at which nobody listens, below the ephemeral ones; given to one test process at a time on this machine.

Between the moment that a port was found free and the one at which somebody listens on it, another process of tests may
find it free too. So each locks its ports, bytes of one file, which ends with the process, whatever becomes of that.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from collections import deque
from functools import cache
from pathlib import Path

from kraken.core.peers import Address

_LOWEST, _BEYOND = 10_000, 32_768
_KEPT = 4_000
"""So many that this process took last are not given again, for somebody may still be about to listen on them."""

_chance = random.SystemRandom()
_given: deque[int] = deque()


def free_address() -> Address:
    """An address of this machine at which nobody listens, nor is about to."""
    return Address("127.0.0.1", free_ports(1))


def free_ports(count: int) -> int:
    """The first of `count` ports of 127.0.0.1 in a row at which nobody listens."""
    while True:
        first = _chance.randrange(_LOWEST, _BEYOND - count)
        if all(_is_free(port) and _is_ours(port) for port in range(first, first + count)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _is_ours(port: int) -> bool:
    """Whether this process has the port from now on; one that it took lately it does not take again."""
    if port in _given:
        return False
    try:
        fcntl.lockf(_locks(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _given.append(port)
    if len(_given) > _KEPT:
        fcntl.lockf(_locks(), fcntl.LOCK_UN, 1, _given.popleft())
    return True


@cache
def _locks() -> int:
    """The file of all locks. Opened once: whoever closes it loses them."""
    return os.open(Path(tempfile.gettempdir()) / "kraken-test-ports", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
