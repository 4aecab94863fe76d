"""A peer connection through TLS: records in threads, straight between buffer, file and socket.

openssl releases the interpreter lock while it works, so a few threads encrypt and decrypt beside the loop. The socket
does not block: a job moves what can be moved, many records in both directions, and comes back to the loop, which waits
for readiness. One job at a time has the connection, for openssl's objects are not made for two. Messages of a few KiB
are done on the loop: to send or receive one record takes 15 us, and to hand it to a thread and back 350, measured on
two cores that others used as well.

What a thread works on stays its own until it is back, whatever happens meanwhile: the socket is closed then, the file
has a descriptor of its own, and memory is given back when `when_still` says so.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from selectors import EVENT_READ, EVENT_WRITE
from typing import Final

from kraken.core.pieces import KIB
from kraken.p2p.io.send_queue import SendQueue
from kraken.p2p.io.transport import FILE_TOO_SHORT, Burst, TransportUser
from kraken.runtime.threads import FileThreads

_SMALL: Final = 16 * KIB  # bytes: no more than a record is worth doing on the loop
_STEP: Final = 128 * KIB  # bytes read from a file at once, a few records
_ROUNDS: Final = 16  # of small things, before others have their turn on the loop
_READY: Final = 0  # neither EVENT_READ nor EVENT_WRITE is waited for

_per_thread = threading.local()


@dataclass(slots=True)
class _Outgoing:
    """A burst, and how many bytes of its head and file together have left. `fd` is ours."""

    burst: Burst
    fd: int
    gone: int = 0

    @property
    def size(self) -> int:
        return len(self.burst.head) + self.burst.length

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(slots=True)
class _Moved:
    """What came of a job: bytes each way, what either direction waits for, and why nothing goes on if so."""

    received: int = 0
    sent: int = 0
    read_waits: int = _READY
    write_waits: int = _READY
    failure: str = ""


class TlsTransport:
    """A connection after its TLS handshake."""

    encrypted = True

    def __init__(self, sock: ssl.SSLSocket, threads: FileThreads) -> None:
        """Takes over a socket that does not block. Args: threads, for its records, shared with other connections."""
        self._sock = sock
        self._fd = sock.fileno()
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._queue = SendQueue(sock)
        self._user: TransportUser | None = None
        self._read_waits = self._write_waits = _READY
        self._watched = 0  # what the loop tells of
        self._place: memoryview | None = None
        self._outgoing: _Outgoing | None = None
        self._job: asyncio.Future[_Moved] | None = None
        self._pumping = self._closed = False
        self._then: list[Callable[[], None]] = []

    def start(self, user: TransportUser) -> None:
        self._user = user
        self._pump()

    def read_on(self) -> None:
        self._pump()

    def write_on(self) -> None:
        self._pump()

    def wake_from(self, count: int) -> None:
        """Part of a record may be here already, so nobody knows how many bytes of the socket these are."""

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._watch(0)
        if self._job is None:
            self._let_go()
        else:
            self._hang_up()

    def when_still(self, then: Callable[[], None]) -> None:
        if self._job is None:
            then()
        else:
            self._then.append(then)

    # On the loop.

    def _pump(self) -> None:
        """Move what can be moved now. Nothing happens while a thread has the connection: it ends in here."""
        if self._user is None or self._job is not None or self._pumping or self._closed:
            return
        self._pumping = True
        try:
            for _ in range(_ROUNDS):
                if not self._step(self._user):
                    break
            else:
                self._loop.call_soon(self._pump)
        finally:
            self._pumping = False
        if not self._closed:
            self._watch(0 if self._job is not None else self._read_waits | self._write_waits)

    def _step(self, user: TransportUser) -> bool:
        """Do something small, or give something large to a thread. Returns: whether there may be more to do here."""
        self._place = None if self._read_waits else user.place()
        if self._outgoing is None:
            self._outgoing = self._begin(user)
        outgoing = None if self._write_waits else self._outgoing
        if self._closed or (self._place is None and outgoing is None):
            return False
        if _is_small(self._place, outgoing):
            self._take_in(user, _move(self._sock, self._place, outgoing))
            return not self._closed
        self._job = self._threads.submit(_move, self._sock, self._place, outgoing)
        self._job.add_done_callback(self._job_done)
        return False

    def _begin(self, user: TransportUser) -> _Outgoing | None:
        burst = user.burst()
        if burst is None:
            return None
        try:
            return _Outgoing(burst, os.dup(burst.fd) if burst.length else -1)
        except OSError as error:  # this process may open no more files
            user.failed(error.strerror or str(error))
            return None

    def _job_done(self, job: asyncio.Future[_Moved]) -> None:
        self._job = None
        if self._closed:
            self._let_go()
            return
        assert self._user is not None, "a job is for somebody"
        self._pumping = True  # what the user is told first may not ask for more, before it knows the rest
        try:
            self._take_in(self._user, job.result())
        finally:
            self._pumping = False
        self._pump()

    def _take_in(self, user: TransportUser, moved: _Moved) -> None:
        """Tell the user what has moved; it may close this connection at each step."""
        self._read_waits |= moved.read_waits
        self._write_waits |= moved.write_waits
        if moved.write_waits & EVENT_WRITE:
            self._queue.full(self._loop.time())
        place, self._place = self._place, None
        outgoing = self._outgoing
        if outgoing is not None and moved.sent:
            self._tell_sent(user, outgoing, moved.sent)
        if place is not None and not self._closed:
            user.arrived(moved.received)
        if moved.failure:
            user.failed(moved.failure)

    def _tell_sent(self, user: TransportUser, outgoing: _Outgoing, count: int) -> None:
        head = min(count, max(0, len(outgoing.burst.head) - outgoing.gone))
        outgoing.gone += count
        finished = outgoing.gone == outgoing.size
        if finished:
            outgoing.close()
            self._outgoing = None
        user.sent(head, count - head, finished=finished)

    def _watch(self, wanted: int) -> None:
        """Let the loop tell of readiness for this, and for nothing else."""
        new, gone = wanted & ~self._watched, self._watched & ~wanted
        self._watched = wanted
        if new & EVENT_READ:
            self._loop.add_reader(self._fd, self._ready, EVENT_READ)
        if new & EVENT_WRITE:
            self._loop.add_writer(self._fd, self._ready, EVENT_WRITE)
        if gone & EVENT_READ:
            self._loop.remove_reader(self._fd)
        if gone & EVENT_WRITE:
            self._loop.remove_writer(self._fd)

    def _ready(self, event: int) -> None:
        if self._read_waits & event:
            self._read_waits = _READY
        if self._write_waits & event:
            self._write_waits = _READY
        if event == EVENT_WRITE:
            self._queue.drained(self._loop.time())
        self._pump()

    def _hang_up(self) -> None:
        """Let the job that runs find a connection that has ended; its descriptor stays, so that nobody else gets it."""
        with suppress(OSError):  # it has ended already
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def _let_go(self) -> None:
        self._place = None
        if self._outgoing is not None:
            self._outgoing.close()
            self._outgoing = None
        self._sock.close()
        waiting, self._then = self._then, []
        for then in waiting:
            then()


def _is_small(place: memoryview | None, outgoing: _Outgoing | None) -> bool:
    return (place is None or len(place) <= _SMALL) and (outgoing is None or outgoing.size - outgoing.gone <= _SMALL)


# In a thread, or for something small on the loop.


def _move(sock: ssl.SSLSocket, place: memoryview | None, outgoing: _Outgoing | None) -> _Moved:
    """Send of `outgoing`, and receive into `place`, until each is done or waits."""
    moved = _Moved()
    try:
        if outgoing is not None:
            _send(sock, outgoing, moved)
        if place is not None:
            _receive(sock, place, moved)
    except ssl.SSLError as error:
        moved.failure = f"TLS: {error.reason or error}"
    except EOFError as error:
        moved.failure = str(error)
    except OSError as error:
        moved.failure = error.strerror or str(error)
    return moved


def _receive(sock: ssl.SSLSocket, place: memoryview, moved: _Moved) -> None:
    """Record after record. Raises: EOFError, when the other side has closed."""
    size, at = len(place), 0
    try:
        while at < size:
            count = sock.recv_into(place[at:])
            if not count:
                raise EOFError("closed by the peer")
            at += count
    except ssl.SSLWantReadError:
        moved.read_waits = EVENT_READ
    except ssl.SSLWantWriteError:
        moved.read_waits = EVENT_WRITE
    finally:
        moved.received = at


def _send(sock: ssl.SSLSocket, outgoing: _Outgoing, moved: _Moved) -> None:
    """Record after record. Raises: EOFError, when the file ends before."""
    size, at = outgoing.size, outgoing.gone
    try:
        while at < size:
            ready = _read(outgoing, at)
            while ready:
                sent = sock.send(ready)
                ready = ready[sent:]
                at += sent
    except ssl.SSLWantWriteError:
        moved.write_waits = EVENT_WRITE
    except ssl.SSLWantReadError:
        moved.write_waits = EVENT_READ
    finally:
        moved.sent = at - outgoing.gone


def _read(outgoing: _Outgoing, at: int) -> memoryview:
    """Bytes of head and file from `at` on, to be used before this thread calls again. Raises: EOFError."""
    burst = outgoing.burst
    buffer = _buffer()
    head = burst.head[at : at + _STEP]
    buffer[: len(head)] = head
    offset = max(0, at - len(burst.head))
    wanted = min(_STEP - len(head), burst.length - offset) if at + len(head) >= len(burst.head) else 0
    if wanted:
        got = os.preadv(outgoing.fd, [buffer[len(head) : len(head) + wanted]], burst.offset + offset)
        if not got:
            raise EOFError(FILE_TOO_SHORT)
        wanted = got
    return buffer[: len(head) + wanted]


def _buffer() -> memoryview:
    """Memory of this thread, `_STEP` bytes."""
    buffer: memoryview | None = getattr(_per_thread, "buffer", None)
    if buffer is None:
        buffer = _per_thread.buffer = memoryview(bytearray(_STEP))
    return buffer
