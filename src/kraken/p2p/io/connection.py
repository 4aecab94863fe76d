"""One peer connection: frames in and out, payload around the engines.

It knows what arrives and what is to be sent, and where both are to be; a transport moves the bytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from kraken.core.errors import Invalid, PeerMisbehaved
from kraken.core.pieces import KIB, MIB
from kraken.p2p.io.transport import RECEIVED_AT_ONCE, SENT_AT_ONCE, Burst, Transport
from kraken.p2p.ledger import PeerKey
from kraken.p2p.wire import (
    KEEP_ALIVE,
    PIECE_HEADER_BYTES,
    PREFIX,
    FrameLimits,
    Kind,
    Message,
    PieceHeader,
    decode,
    encode,
)
from kraken.runtime.bandwidth import Traffic

_PIECE = int(Kind.PIECE)
_SCRATCH_BYTES = 4 * KIB
_WORTH_WAKING_BYTES = 128 * KIB  # of a block; on a slow link, that is one wake-up instead of one for each packet
_OVERDUE_SECONDS = 1.0  # so long at most is what has come of a block left unread
_MAX_CONTROL_BYTES = 4 * MIB  # a peer that does not read what it asked to be told is dropped


class Receiver(Protocol):
    """Who decides about what a connection brings. Called on the loop; any of these may close it."""

    def message_arrived(self, peer: Connection, message: Message) -> None:
        """A message other than a piece. Raises: PeerMisbehaved."""
        ...

    def place_for(self, peer: Connection, header: PieceHeader) -> memoryview | None:
        """Where the data of a piece frame goes, exactly as long as it is; None to read past it.

        Raises: PeerMisbehaved; BlockingIOError, when there is no memory now: the receiver then calls
        `resume()` later, and is asked again.
        """
        ...

    def block_arrived(self, peer: Connection, header: PieceHeader) -> None:
        """All data of a piece frame is where it was to go, or has been read past."""
        ...

    def span_sent(self, peer: Connection) -> None:
        """The data that was last given to `send_piece` has left, as far as the kernel is concerned."""
        ...

    def connection_closed(self, peer: Connection, reason: str) -> None:
        """Told once. Memory that was a place is free when `Connection.when_still` says so."""
        ...


@dataclass(slots=True)
class _Outgoing:
    """Data of a piece frame on its way out."""

    head: bytes
    fd: int
    offset: int
    left: int


class Connection:
    """A connection after the opening handshake. Times are those of the loop's clock, in seconds."""

    def __init__(
        self,
        key: PeerKey,
        name: str,
        transport: Transport,
        limits: FrameLimits,
        receiver: Receiver,
        traffic: Traffic | None = None,
    ) -> None:
        """Args: traffic, the limits that it shares with others; None for none."""
        self.key = key
        self.name = name
        self._loop = asyncio.get_running_loop()
        self.received_at = self.sent_at = self._loop.time()
        self.payload_at = 0.0  # when data of a piece came last
        self.closed = False
        self._transport = transport
        self._limits = limits
        self._receiver = receiver
        self._traffic = traffic or Traffic()
        self._scratch = bytearray(_SCRATCH_BYTES)
        self._filled = 0
        self._header: PieceHeader | None = None
        self._place: memoryview | None = None
        self._missing = 0  # bytes of the current block that have not arrived
        self._low_water = 1  # bytes that have to come before the transport is to tell of them
        self._receive_granted = 0  # of the limit, for the place that the transport has now
        self._receive_held = False  # by the limit, until there is something to grant
        self._paused = False
        self._control: deque[bytes] = deque()
        self._control_bytes = 0
        self._pieces: deque[_Outgoing] = deque()
        self._head = b""  # of the burst that has begun: messages, and what goes ahead of the data of a piece
        self._current: _Outgoing | None = None
        self._send_granted = 0  # of the limit, for the burst that the transport has now
        self._send_held = False  # by the limit, until there is something to grant

    @property
    def sending(self) -> bool:
        """Whether something waits to leave."""
        return bool(self._control or self._pieces or self._head or self._current)

    @property
    def missing(self) -> int:
        """Bytes of the block on its way in that have not arrived; 0 when none is."""
        return self._missing

    @property
    def encrypted(self) -> bool:
        return self._transport.encrypted

    def start(self) -> None:
        """Begin to read, and to send what was queued."""
        self._transport.start(self)

    def send(self, *messages: Message) -> None:
        """Queue messages; they go ahead of pieces that have not begun."""
        self._queue(b"".join(map(encode, messages)))

    def send_piece(self, header: PieceHeader, fd: int, offset: int) -> None:
        """Queue `header.length` bytes of an open file, from `offset`; `span_sent` tells when they have left."""
        if not self.closed:
            self._pieces.append(_Outgoing(encode(header), fd, offset, header.length))
            self._transport.write_on()

    def look(self, now: float) -> None:
        """Read what has come of a block, if that is little and has been waiting for long; called from time to time."""
        if self._low_water > 1 and now - self.received_at > _OVERDUE_SECONDS:
            self._wake_from(1)

    def keep_alive(self) -> None:
        self._queue(KEEP_ALIVE)

    def resume(self) -> None:
        """Read on, after there was no memory."""
        if self._paused and not self.closed:
            self._paused = False
            self._guarded(self._continue_block)
            if not self._paused and not self.closed:
                self._transport.read_on()

    def close(self, reason: str) -> None:
        """End the connection. Nothing happens when it has ended already."""
        if self.closed:
            return
        self.closed = True
        self._transport.close()
        self._settle_received(0)
        self._settle_sent()
        self._place = None
        self._receiver.connection_closed(self, reason)

    def when_still(self, then: Callable[[], None]) -> None:
        """Call `then` once no byte comes to a place of this connection any more, which has been closed."""
        self._transport.when_still(then)

    # Receiving (`TransportUser`).

    def place(self) -> memoryview | None:
        if self._paused or self._receive_held:
            return None
        if self._header is None:
            return memoryview(self._scratch)[self._filled :]
        self._receive_granted = self._traffic.received.take(min(self._missing, RECEIVED_AT_ONCE), self._receive_on)
        self._receive_held = not self._receive_granted
        if self._receive_held:
            return None
        place = self._place if self._place is not None else memoryview(self._scratch)
        start = len(place) - self._missing if self._place is not None else 0
        return place[start : start + self._receive_granted]

    def arrived(self, count: int) -> None:
        if count:
            self.received_at = self._loop.time()
        self._guarded(self._block_data_arrived if self._header is not None else self._frames_arrived, count)

    def failed(self, reason: str) -> None:
        self.close(f"{reason} in the middle of a piece" if self._missing else reason)

    def _guarded(self, step: Callable[..., None], *args: int) -> None:
        """Run a step; what the peer or the network did wrong ends the connection, and nothing else."""
        try:
            step(*args)
        except OSError as error:
            self.close(error.strerror or str(error))
        except (Invalid, PeerMisbehaved) as error:
            self.close(str(error))

    def _frames_arrived(self, count: int) -> None:
        self._traffic.received.spend(count)
        self._filled += count
        self._parse()

    def _block_data_arrived(self, count: int) -> None:
        self._settle_received(count)
        if count:
            self.payload_at = self.received_at
        self._missing -= count
        if self._missing:
            self._wake_from(min(self._missing, _WORTH_WAKING_BYTES))
        else:
            self._end_block()

    def _wake_from(self, count: int) -> None:
        """Have the transport tell of bytes only when so many have come, or when the other side has closed.

        No more than the current block lacks, or its end would never be seen.
        """
        if count != self._low_water:
            self._low_water = count
            self._transport.wake_from(count)

    def _settle_received(self, count: int) -> None:
        """Give back what was granted for a place and did not come."""
        if self._receive_granted:
            self._traffic.received.give_back(self._receive_granted - count)
            self._receive_granted = 0

    def _receive_on(self) -> None:
        """The limit has something to grant again."""
        self._receive_held = False
        self._transport.read_on()

    def _parse(self) -> None:
        """Take every whole frame out of the scratch buffer, up to the data of a piece."""
        at = 0
        while not self.closed and self._header is None and self._filled - at >= PREFIX.size:
            (length,) = PREFIX.unpack_from(self._scratch, at)
            begin = at + PREFIX.size
            needed = self._needed(begin, length) if length else 0
            if self._filled - begin < needed:
                self._make_room(PREFIX.size + needed)
                break
            at = begin + needed
            if not length:
                continue
            message = decode(self._scratch[begin:at], length)
            if isinstance(message, PieceHeader):
                self._begin_block(message)
            else:
                self._receiver.message_arrived(self, message)
        if self.closed:
            return
        self._drop(at)
        if self._header is not None:
            self._continue_block()

    def _drop(self, count: int) -> None:
        """The first bytes of the scratch buffer have been read."""
        if count < self._filled:
            self._scratch[: self._filled - count] = self._scratch[count : self._filled]
        self._filled -= count

    def _needed(self, at: int, length: int) -> int:
        """Bytes of the frame that must be in the scratch buffer, from `at` on, to read it. Raises: Invalid."""
        if self._filled <= at:
            return 1
        kind = self._scratch[at]
        self._limits.admit(kind, length)
        return PIECE_HEADER_BYTES if kind == _PIECE else length

    def _make_room(self, size: int) -> None:
        if size > len(self._scratch):
            self._scratch = self._scratch + bytes(size - len(self._scratch))  # the old one may still be looked into

    def _begin_block(self, header: PieceHeader) -> None:
        self._header = header
        self._missing = header.length

    def _continue_block(self) -> None:
        """Give the block its place, and move there what of it is in the scratch buffer already."""
        assert self._header is not None, "a block has begun"
        try:
            self._place = self._receiver.place_for(self, self._header)
        except BlockingIOError:
            self._paused = True
            return
        here = min(self._filled, self._missing)
        if self._place is not None:
            self._place[:here] = self._scratch[:here]
        self._drop(here)
        self._missing -= here
        if self._missing:
            self._wake_from(min(self._missing, _WORTH_WAKING_BYTES))
        else:
            self._end_block()

    def _end_block(self) -> None:
        header, self._header = self._header, None
        self._place = None
        assert header is not None, "a block has begun"
        self._wake_from(1)
        self._receiver.block_arrived(self, header)
        if not self.closed and self._filled:
            self._parse()

    # Sending (`TransportUser`).

    def burst(self) -> Burst | None:
        if self._current is None and not self._head:
            self._begin_burst()
        piece = self._current
        if piece is None:
            return Burst(self._head, -1, 0, 0) if self._head else None
        if not self._send_held:
            self._send_granted = self._traffic.sent.take(min(piece.left, SENT_AT_ONCE), self._send_on)
            self._send_held = not self._send_granted
        if not self._head and not self._send_granted:
            return None
        return Burst(self._head, piece.fd, piece.offset, self._send_granted)

    def sent(self, head: int, data: int, *, finished: bool) -> None:
        if head or data:
            self.sent_at = self._loop.time()
        if head:
            self._head = self._head[head:]
            self._traffic.sent.spend(head)
        piece = self._current
        if piece is not None:
            piece.offset += data
            piece.left -= data
            self._send_granted -= data
            if finished:
                self._settle_sent()
            if not piece.left:
                self._current = None
                self._guarded(self._tell_sent)

    def _queue(self, data: bytes) -> None:
        if self.closed:
            return
        self._control.append(data)
        self._control_bytes += len(data)
        if self._control_bytes + len(self._head) > _MAX_CONTROL_BYTES:
            self.close("the peer does not read")
            return
        self._transport.write_on()

    def _begin_burst(self) -> None:
        """Messages that wait, and a piece behind them: what is queued from now on goes after it."""
        waiting = [*self._control]
        self._control.clear()
        self._control_bytes = 0
        if self._pieces:
            self._current = self._pieces.popleft()
            waiting.append(self._current.head)
        self._head = b"".join(waiting)

    def _tell_sent(self) -> None:
        self._receiver.span_sent(self)

    def _settle_sent(self) -> None:
        """Give back what was granted for a burst and has not left."""
        if self._send_granted:
            self._traffic.sent.give_back(self._send_granted)
            self._send_granted = 0

    def _send_on(self) -> None:
        """The limit has something to grant again."""
        self._send_held = False
        self._transport.write_on()
