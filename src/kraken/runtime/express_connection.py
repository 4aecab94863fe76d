"""One connection of an express lane: answers plain requests itself, and lends itself to aiohttp for all others.

It answers one request after the other, in their order. What comes behind a request that has no answer yet stays with
the kernel, but for what one read gave. A request of the lane must be here whole within the time that a header has.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, assert_never, cast

from kraken.runtime.plain_request import NotYet, is_one_head
from kraken.runtime.web_guard import TOO_SLOW, GuardedConnection

if TYPE_CHECKING:
    from kraken.runtime.web_express import ExpressLane


class ExpressConnection(asyncio.Protocol):
    """The protocol of one connection; see the module."""

    __slots__ = (
        "_asked_at",
        "_buffer",
        "_deadline",
        "_expecting",
        "_keep",
        "_lane",
        "_lent",
        "_loop",
        "_paused",
        "_proceeding",
        "_remote",
        "_returns",
        "_stuffed",
        "_timer",
        "_transport",
    )

    def __init__(self, lane: ExpressLane) -> None:
        self._lane = lane
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._remote = ""
        self._buffer = b""
        self._expecting = True  # the rest of a request; or the first one
        self._asked_at: float | None = None  # when the request came that has no answer yet
        self._proceeding = False
        self._keep = True
        self._paused = False  # we read nothing
        self._stuffed = False  # the other end reads nothing
        self._lent: _Lent | None = None
        self._returns = False
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def lent(self) -> bool:
        return self._lent is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # of uvloop it is one, though not by class
        peer = transport.get_extra_info("peername")
        self._remote = str(peer[0]) if isinstance(peer, tuple) else ""
        self._lane.opened(self)
        self._expire_in(self._lane.limits.header_seconds)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._transport = None
        self._asked_at = None
        self._forget_timer()
        self._lane.closed(self)
        if self._lent is not None:
            self._lent.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._lent is not None:
            self._lent.pause_writing()
        else:
            self._stuffed = True
            self._deadline = self._loop.time() + self._lane.limits.stalled_reader_seconds

    def resume_writing(self) -> None:
        if self._lent is not None:
            self._lent.resume_writing()
        else:
            self._stuffed = False
            self._deadline = self._loop.time() + self._lane.limits.keepalive_seconds
            self._proceed()

    def data_received(self, data: bytes) -> None:
        if self._lent is not None and not self._took_back(self._lent):
            self._returns = False  # it came before the answer: where requests end is for aiohttp to know, from now on
            self._lent.data_received(data)
            return
        self._buffer = self._buffer + data if self._buffer else data
        self._proceed()

    def finish(self) -> None:
        """Close as soon as nobody waits for an answer."""
        self._keep = False
        if self._lent is None and self._asked_at is None and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _proceed(self) -> None:
        """Handle what is here, until more bytes, an answer, or the other end must be waited for."""
        if self._proceeding:
            return  # an answer came at once: the loop below goes on
        self._proceeding = True
        lane = self._lane
        while self._buffer and self._asked_at is None and not self._stuffed:
            found = lane.read(self._buffer)
            if not isinstance(found, tuple):  # to ask for an enumeration is slow
                self._wait_or_lend(found)
                break
            body, length, keep = found
            self._buffer = self._buffer[length:]
            self._keep = keep and not lane.draining
            self._expecting = False
            self._asked_at = self._loop.time()
            try:
                lane.handle(body, self._remote, self._answer)
            except Exception as error:  # noqa: BLE001 - the lane tells errors of ours from bugs, and logs those
                self._send(lane.failure(error, self._keep), self._loop.time())
        self._proceeding = False
        if self._buffer or self._paused:
            self._read_on(not self._buffer or (self._asked_at is None and not self._stuffed))

    def _wait_or_lend(self, why: NotYet) -> None:
        match why:
            case NotYet.OTHER:
                self._lend()
            case NotYet.INCOMPLETE:
                if not self._expecting:
                    self._expecting = True
                    self._expire_in(self._lane.limits.header_seconds)
            case _:
                assert_never(why)

    def _answer(self, body: bytes) -> None:
        if self._asked_at is not None:  # else the connection is gone
            now = self._loop.time()
            self._send(self._lane.success(body, now - self._asked_at, now, self._keep), now)

    def _send(self, answer: bytes, now: float) -> None:
        self._asked_at = None
        self._deadline = now + self._lane.limits.keepalive_seconds
        assert self._transport is not None
        self._transport.write(answer)
        if not self._keep:
            self._buffer = b""
            self._transport.close()
        elif self._buffer:
            self._proceed()

    def _read_on(self, wanted: bool) -> None:
        """Read from the socket, or leave what comes to the kernel."""
        if self._transport is None or self._paused is not wanted:
            return
        self._paused = not wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _lend(self) -> None:
        """Give what is here, and what will come, to aiohttp."""
        assert self._transport is not None
        data, self._buffer = self._buffer, b""
        self._forget_timer()
        self._returns = is_one_head(data)
        self._lent = _Lent(self._lane.guard)
        self._lent.connection_made(self._transport)
        self._lent.data_received(data)

    def _took_back(self, lent: _Lent) -> bool:
        """Whether the connection is ours again: one whole request was lent, and has been answered."""
        if not self._returns or not lent.idle:
            return False
        lent.give_back()
        self._lent = None
        self._expecting = True
        self._expire_in(self._lane.limits.header_seconds)
        return True

    def _expire_in(self, seconds: float) -> None:
        self._deadline = self._loop.time() + seconds
        self._forget_timer()
        self._timer = self._loop.call_at(self._deadline, self._look_at_the_time)

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_at_the_time(self) -> None:
        """End the connection, if its time has come; it may have got more since the timer was set."""
        transport, limits = self._transport, self._lane.limits
        self._timer = None
        if transport is None:
            return
        if self._asked_at is not None:
            self._expire_in(limits.header_seconds)  # it is we who let it wait
        elif self._deadline > self._loop.time():
            self._timer = self._loop.call_at(self._deadline, self._look_at_the_time)
        elif transport.is_closing() or transport.get_write_buffer_size():
            transport.abort()  # the other end does not take what we send
        else:
            if self._expecting:
                transport.write(TOO_SLOW)
            transport.close()
            self._expire_in(limits.header_seconds)


class _Lent(GuardedConnection):
    """aiohttp on a connection that is not its own."""

    counted = False

    @property
    def idle(self) -> bool:
        """Whether all it was given is answered, and the answers are sent."""
        waiter = self._waiter
        return waiter is not None and not waiter.done() and not self._messages and not self.writing_paused

    def give_back(self) -> None:
        """End, and leave the connection open."""
        self.transport = None
        self.connection_lost(None)
