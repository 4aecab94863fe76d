"""How bytes travel: links that are shared in small quanta, windows, and latency.

A link sends a quantum of each connection in turn, as long as the connection's window has room; a full window
opens when a quantum has been received and that is known again. So a crowded receiver holds the sender's
connection, and nothing else, as in TCP. Incoming quanta queue at the receiving link. Quanta are queued there in the
order in which they were sent, not in which they arrive: latencies differ by less than one quantum takes. What goes to
another zone goes through the pipe between the two first, which is first come first served as well.
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
    """Moves pieces between hosts, and tells their worlds when one is out and when one is in."""

    def __init__(
        self,
        clock: VirtualClock,
        network: Network,
        quantum: int,
        rng: random.Random,
        handling: Callable[[int], float],
    ) -> None:
        """Args: handling, seconds that a receiver spends on so many bytes before it counts them as received."""
        self._clock = clock
        self._quantum = quantum
        self._window = max(network.window // quantum, 1)
        self._least = network.rtt / 2
        self._spread = network.rtt / 2 * network.jitter
        self._chance = rng.random
        self._handling = handling
        self._between = None if network.between is None else 1.0 / network.between
        self._pipes: dict[tuple[str, str], float] = {}  # when all that is in it will be out

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
        active, first, window = link.active, NEVER, self._window
        for _ in range(len(active)):
            wire = active.popleft()
            active.append(wire)
            returns = wire.returns
            while returns and returns[0] <= now:
                returns.popleft()
            if len(returns) < window:
                size = min(wire.left, self._quantum)
                link.sending = True
                self._clock.at(now + size * link.seconds_per_byte, self._quantum_out, wire, size)
                return
            if returns[0] < first:
                first = returns[0]
        if first < NEVER and first != link.wake_at:
            link.wake_at = first
            self._clock.at(first, self._wake, host)

    def _wake(self, host: Host, _: Any) -> None:
        if host.link.wake_at == self._clock.now:
            host.link.wake_at = NEVER
            if not host.link.sending and not host.dead:
                self._turn(host)

    def _quantum_out(self, wire: Wire, size: int) -> None:
        host = wire.sender
        host.link.sending = False
        if host.dead:
            return
        if wire.left:  # else the connection was cut meanwhile
            wire.left -= size
            if host.zone == wire.receiver.zone:
                wire.returns.append(self._arrive(wire, size, None if wire.left else wire.piece))
            else:
                self._into_the_pipe(wire, size)
            if not wire.left:
                host.link.active.remove(wire)
                host.world.piece_sent(wire)
        if not host.link.sending:
            self._turn(host)

    def _into_the_pipe(self, wire: Wire, size: int) -> None:
        """What goes to another zone queues at the pipe, and only then at the receiving link."""
        if self._between is None:
            wire.sender.tally.crossed += size
            wire.returns.append(self._arrive(wire, size, None if wire.left else wire.piece))
            return
        pipe, now = (wire.sender.zone, wire.receiver.zone), self._clock.now
        out = self._pipes[pipe] = max(self._pipes.get(pipe, now), now) + size * self._between
        wire.returns.append(NEVER)  # until it is out
        self._clock.at(out, self._out_of_the_pipe, wire, (size, None if wire.left else wire.piece))

    def _out_of_the_pipe(self, wire: Wire, quantum: tuple[int, PieceIndex | None]) -> None:
        wire.sender.tally.crossed += quantum[0]
        wire.returns[wire.returns.index(NEVER)] = self._arrive(wire, *quantum)
        if not (wire.sender.link.sending or wire.sender.dead):
            self._turn(wire.sender)

    def _arrive(self, wire: Wire, size: int, piece: PieceIndex | None) -> float:
        """Queue a quantum at the receiving link; `piece` is the one that it completes.

        Returns: when the sender knows that it is in.
        """
        receiver = wire.receiver
        if receiver.dead:
            return NEVER
        there = receiver.link
        arrival = self._clock.now + self._least + self._spread * self._chance()
        done = there.down_free + size * there.seconds_per_byte
        if done < arrival or done < wire.last_arrival:
            done = max(arrival, wire.last_arrival)
        there.down_free = wire.last_arrival = wire.heard_at = done
        if piece is not None:
            length = wire.sender.engine.pieces.size(piece)
            self._clock.at(done + self._handling(length), receiver.world.piece_received, wire, piece)
        return done + self._least + self._spread * self._chance()
