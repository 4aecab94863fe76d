"""How much of a piece may wait in the kernel for its link.

The kernel takes what its buffer has room for, up to 4 MiB on a connection, and so a whole piece, and the next, at once:
then a piece counts as sent long before it is, its upload slot is given to others, who share the link with it, and news
and requests wait behind it. What may wait unsent is therefore bounded (TCP_NOTSENT_LOWAT), by how quickly it goes.
"""

from __future__ import annotations

import socket

from kraken.core.pieces import KIB, MIB

_LEAST, _MOST = 32 * KIB, 4 * MIB
_SHORT_SECONDS, _LONG_SECONDS = 0.01, 0.05
"""The queue doubles when it drains in less than the first, and is halved when it takes longer than the second: enough
that a link is not idle while the loop is busy, little enough that a slot is held for as long as it is used."""


class SendQueue:
    """The bound of one connection's queue. Times are of one clock, in seconds."""

    def __init__(self, sock: socket.socket) -> None:
        """Args: sock, connected by TCP."""
        self._sock = sock
        self._full_at: float | None = None
        self._limit(_LEAST)

    @property
    def limit(self) -> int:
        """Bytes that may wait unsent."""
        return self._bytes

    def full(self, now: float) -> None:
        """The kernel took no more."""
        self._full_at = now

    def drained(self, now: float) -> None:
        """It takes some again, for half of what waited is gone."""
        if self._full_at is None:
            return
        took, self._full_at = now - self._full_at, None
        if took < _SHORT_SECONDS and self._bytes < _MOST:
            self._limit(2 * self._bytes)
        elif took > _LONG_SECONDS and self._bytes > _LEAST:
            self._limit(self._bytes // 2)

    def _limit(self, count: int) -> None:
        self._bytes = count
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, count)
