"""The tracker of a simulation: the hand-out that ships, behind a queue and two latencies."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from kraken.core.peers import Role
from kraken.p2p.announces import Announce
from kraken.sim.clock import VirtualClock
from kraken.sim.host import NEVER, Host
from kraken.tracker.messages import AnnounceReply, PeerEntry, SwarmAnnounce, decode_reply, encode
from kraken.tracker.peer_table import AnnounceArrived, PeerTable, SendReply, Tick, origin_choices
from kraken.tracker.settings import AnnounceSettings

PEERS_WANTED = 20
_DIGEST = "sha256:simulated"


class Desk:
    """One tracker. Announces are worked on one after the other; answers go back to whoever asked."""

    def __init__(
        self,
        clock: VirtualClock,
        settings: AnnounceSettings,
        service: float,
        rng: random.Random,
        latency: Callable[[], float],
        answered: Callable[[Host, AnnounceReply], None],
        origins: list[PeerEntry],
    ) -> None:
        """Args: service, seconds of work for each announce; answered, called when an answer has arrived."""
        self._clock = clock
        self._table: PeerTable[Host] = PeerTable(settings, rng)
        self._service = service
        self._latency = latency
        self._answered = answered
        self._origins = origin_choices(tuple(map(encode, origins)), settings.origins)
        self._free = 0.0
        self._timer = NEVER

    def announce(self, host: Host, order: Announce) -> None:
        """A host announces itself."""
        host.tally.announces += 1
        arrival = self._clock.now + self._latency()
        self._free = max(self._free, arrival) + self._service
        self._clock.at(self._free, self._arrived, host, order)

    def _arrived(self, host: Host, order: Announce) -> None:
        swarms = [
            (
                SwarmAnnounce(
                    _DIGEST, each.swarm, PEERS_WANTED if each.wanted else 0, host.engine.complete, left=each.left
                ),
                self._origins if each.wanted else (),
            )
            for each in order.announcements
        ]
        self._answer(
            self._table.handle(
                AnnounceArrived(host, encode(host.entry), Role(host.entry.role), host.zone, swarms), self._clock.now
            )
        )

    def _tick(self, _one: Any, _two: Any) -> None:
        if self._timer == self._clock.now:
            self._timer = NEVER
            self._answer(self._table.handle(Tick(), self._clock.now))

    def _answer(self, replies: list[SendReply[Host]]) -> None:
        for each in replies:
            self._clock.at(self._clock.now + self._latency(), self._answered, each.ticket, decode_reply(each.reply))
        deadline = self._table.next_deadline()
        if deadline is not None and deadline < self._timer:
            self._timer = deadline
            self._clock.at(deadline, self._tick)
