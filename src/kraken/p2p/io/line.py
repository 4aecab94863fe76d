"""A socket on its way to become a connection: both handshakes go over it, each a few bytes."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from kraken.core.peers import Address

T = TypeVar("T")


class Line:
    """Plain at first; `sock` becomes an `ssl.SSLSocket` where TLS begins. Does not block, and belongs to one task."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock

    @classmethod
    async def to(cls, address: Address) -> Line:
        """A line to an address. Raises: OSError, when nobody answers there."""
        line = cls(socket_for(address))
        try:
            await asyncio.get_running_loop().sock_connect(line.sock, (address.bare_host, address.port))
        except BaseException:
            line.close()
            raise
        return line

    def close(self) -> None:
        self.sock.close()

    async def receive_exactly(self, size: int) -> bytes:
        """The next bytes. Raises: EOFError, when the other side closes before."""
        data = b""
        while len(data) < size:
            part = await self.when_ready(partial(self.sock.recv, size - len(data)))
            if not part:
                raise EOFError("the peer closed the connection: it has no such swarm, or is full")
            data += part
        return data

    async def send_all(self, data: bytes) -> None:
        while data:
            sent = await self.when_ready(partial(self.sock.send, data))
            data = data[sent:]

    async def first_byte(self) -> bytes:
        """The byte that comes next, below TLS, which stays where it is; nothing when the other side has closed."""
        return await self.when_ready(partial(socket.socket.recv, self.sock, 1, socket.MSG_PEEK))

    async def when_ready(self, attempt: Callable[[], T]) -> T:
        """What a call on the socket gives, made again each time that the socket is ready for what it waits for."""
        while True:
            try:
                return attempt()
            except ssl.SSLWantWriteError:
                await self.writable()
            except (BlockingIOError, ssl.SSLWantReadError):
                await self.readable()

    async def readable(self) -> None:
        """Wait until there is something to read."""
        loop, fd = asyncio.get_running_loop(), self.sock.fileno()
        ready = loop.create_future()
        loop.add_reader(fd, _wake, ready)
        try:
            await ready
        finally:
            loop.remove_reader(fd)

    async def writable(self) -> None:
        """Wait until something can be written."""
        loop, fd = asyncio.get_running_loop(), self.sock.fileno()
        ready = loop.create_future()
        loop.add_writer(fd, _wake, ready)
        try:
            await ready
        finally:
            loop.remove_writer(fd)


def socket_for(address: Address) -> socket.socket:
    """A socket of the family that the address is of."""
    return socket.socket(socket.AF_INET6 if ":" in address.bare_host else socket.AF_INET, socket.SOCK_STREAM)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
