"""What the blobs of a simulated host share, as those of a node do (`p2p.io.shared_out`): the right to send, and to ask.

The engines are those that ship; turns to write are not modelled, for writing takes a piece no time of others here.
"""

from __future__ import annotations

from typing import Any

from kraken.core.metainfo import SwarmId
from kraken.p2p.events import AllowanceChanged
from kraken.p2p.priority import SMALL_RANK, Priority
from kraken.p2p.request_budget import Limits, share_out
from kraken.p2p.settings import PeerSettings, SwarmSettings
from kraken.p2p.turns import Turns
from kraken.sim.clock import VirtualClock
from kraken.sim.host import Host, Wire

_SWEEP_SECONDS = 1.0


class HostShares:
    """Those of one host: agent or origin."""

    def __init__(self, clock: VirtualClock, settings: PeerSettings, swarm_settings: SwarmSettings) -> None:
        self._clock = clock
        self._settings = settings
        self._limits = Limits(settings.buffer_bytes, swarm_settings.requests_total)
        self._slots = Turns[Wire](settings.upload_slots, settings.upload_slots // 8 or 1)
        self._wanted: dict[SwarmId, Host] = {}
        self._sharing = False
        self._sweeping = False

    def wants(self, swarm: SwarmId, host: Host) -> None:
        """The host is about to want a blob, that of this swarm."""
        if not self._is_small(host):
            self._wanted[swarm] = host
            self._share_out()
            if not self._sweeping:
                self._sweeping = True
                self._clock.at(self._clock.now + _SWEEP_SECONDS, self._sweep)

    def has(self, swarm: SwarmId) -> None:
        """The host has the blob, and wants nothing of it any more."""
        if self._wanted.pop(swarm, None) is not None:
            self._share_out()

    def appetite_changed(self) -> None:
        """A blob could be asked for at one peer more: share out anew, when all that happens now has happened."""
        if not self._sharing and len(self._wanted) > 1:
            self._sharing = True
            self._clock.at(self._clock.now, self._share_out)

    def ask_slot(self, swarm: SwarmId, wire: Wire, length: int) -> list[Wire]:
        """Something of so many bytes is to be sent along a connection. Returns: those that may send now."""
        return self._slots.asked(
            wire, swarm, SMALL_RANK if self._is_small(wire.sender) else Priority.INTERACTIVE, length
        )

    def is_waiting(self, wire: Wire) -> bool:
        return self._slots.is_waiting(wire)

    def end_slot(self, wire: Wire) -> list[Wire]:
        """What was to be sent is out, or never will be. Returns: those that may send now."""
        return self._slots.ended(wire)

    def _sweep(self, _one: Any, _two: Any) -> None:
        self._sweeping = bool(self._wanted)
        if self._sweeping:
            self._share_out()
            self._clock.at(self._clock.now + _SWEEP_SECONDS, self._sweep)

    def _share_out(self, _one: Any = None, _two: Any = None) -> None:
        self._sharing = False
        wishes = {swarm: host.engine.wish(Priority.INTERACTIVE) for swarm, host in self._wanted.items()}
        shares = share_out(wishes, self._limits)
        for swarm, host in list(self._wanted.items()):
            if shares[swarm] != host.engine.allowance:
                host.world.feed(host, AllowanceChanged(shares[swarm]))

    def _is_small(self, host: Host) -> bool:
        return host.engine.pieces.length <= self._settings.small_bytes
