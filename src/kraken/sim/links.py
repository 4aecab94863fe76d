"""How bytes travel: links that are shared in small quanta, windows, and latency.

A link sends a quantum of each connection in turn, as long as the connection's window has room; a full window
opens when a quantum has been received and that is known again. So a crowded receiver holds the sender's
connection, and nothing else, as in TCP. Incoming quanta queue at the receiving link. Quanta are queued there in the
order in which they were sent, not in which they arrive: latencies differ by less than one quantum takes.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from kraken.core.pieces import PieceIndex
from kraken.sim.clock import VirtualClock
from kraken.sim.host import NEVER, Host, Wire
from kraken.sim.scenario import Network


class Links:
    """Moves pieces between hosts, and tells when one is out and when one is in."""

    def __init__(
        self,
        clock: VirtualClock,
        network: Network,
        quantum: int,
        rng: random.Random,
        sent: Callable[[Wire], None],
        received: Callable[[Wire, PieceIndex], None],
        handling: Callable[[int], float],
    ) -> None:
        """Args: handling, seconds that a receiver spends on so many bytes before it counts them as received."""
        self._clock = clock
        self._quantum = quantum
        self._window = max(network.window // quantum, 1)
        self._least = network.rtt / 2
        self._spread = network.rtt / 2 * network.jitter
        self._chance = rng.random
        self._sent = sent
        self._received = received
        self._handling = handling

    def latency(self) -> float:
        """Seconds that one message takes."""
        return self._least + self._spread * self._chance()

    def send(self, wire: Wire, piece: PieceIndex, size: int) -> None:
        """Begin to send a piece. A connection sends one at a time."""
        assert not wire.left, "one piece at a time"
        wire.piece, wire.left = piece, size
        link = wire.sender.link
        link.active.append(wire)
        if not link.sending:
            self._turn(wire.sender)

    def cut(self, wire: Wire) -> None:
        """The connection is gone, with all that it was sending."""
        if wire.left:
            wire.left = 0
            wire.sender.link.active.remove(wire)

    def _turn(self, host: Host) -> None:
        """Send a quantum of the next connection whose window has room."""
        link, now = host.link, self._clock.now
        active, first = link.active, NEVER
        for _ in range(len(active)):
            wire = active[0]
            active.rotate(-1)
            returns = wire.returns
            while returns and returns[0] <= now:
                returns.popleft()
            if len(returns) < self._window:
                size = min(self._quantum, wire.left)
                link.sending = True
                self._clock.at(now + size * link.seconds_per_byte, self._quantum_out, wire, size)
                return
            first = min(first, returns[0])
        if first < NEVER and first != link.wake_at:
            link.wake_at = first
            self._clock.at(first, self._wake, host)

    def _wake(self, host: Host, _: Any) -> None:
        if host.link.wake_at == self._clock.now:
            host.link.wake_at = NEVER
            if not host.link.sending and not host.dead:
                self._turn(host)

    def _quantum_out(self, wire: Wire, size: int) -> None:
        host, receiver, now = wire.sender, wire.receiver, self._clock.now
        host.link.sending = False
        if host.dead:
            return
        if wire.left:  # else the connection was cut meanwhile
            wire.left -= size
            arrival = now + self.latency()
            if receiver.dead:
                done = NEVER
            else:
                there = receiver.link
                done = max(there.down_free + size * there.seconds_per_byte, arrival, wire.last_arrival)
                there.down_free = wire.last_arrival = wire.heard_at = done
            wire.returns.append(done + self.latency())
            if not wire.left:
                host.link.active.remove(wire)
                if done < NEVER:
                    length = host.engine.pieces.size(wire.piece)
                    self._clock.at(done + self._handling(length), self._received, wire, wire.piece)
                self._sent(wire)
        if not host.link.sending:
            self._turn(host)
