"""Which hosts are alive: an engine fed by probes and by the requests that failed.

A host that was never heard of counts as up, so that a component works from its first second. It goes
down after a number of failures in a row and comes up with one success: being asked costs little, and
not being asked costs a copy of the data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from kraken.cluster.settings import ClusterSettings
from kraken.core.peers import Address


@dataclass(frozen=True, slots=True)
class HostAnswered:
    """A probe or a request succeeded."""

    host: Address


@dataclass(frozen=True, slots=True)
class HostFailed:
    """A probe or a request got no answer."""

    host: Address
    error: str


@dataclass(frozen=True, slots=True)
class Tick:
    """The next deadline has come."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask the host whether it lives."""

    host: Address


@dataclass(frozen=True, slots=True)
class HostCameUp:
    """Tell that the host answers, for the first time or again."""

    host: Address


@dataclass(frozen=True, slots=True)
class HostWentDown:
    """Tell that the host does not answer any more."""

    host: Address
    error: str


HealthEvent = HostAnswered | HostFailed | Tick
HealthAction = Probe | HostCameUp | HostWentDown


@dataclass(slots=True)
class _Host:
    probe_at: float
    failures: int = 0
    up: bool = True
    heard: bool = False
    being_probed: bool = False


class HealthTable:
    """The state of the hosts of one kind."""

    def __init__(self, hosts: Iterable[Address], settings: ClusterSettings, now: float) -> None:
        self._settings = settings
        self._hosts = {host: _Host(probe_at=now) for host in hosts}

    def is_up(self, host: Address) -> bool:
        """Whether the host is believed to answer; an unknown one is not."""
        known = self._hosts.get(host)
        return known is not None and known.up

    def is_heard(self, host: Address) -> bool:
        """Whether the host's last word is an answer, and not just hope."""
        known = self._hosts.get(host)
        return known is not None and known.up and known.heard

    def next_deadline(self) -> float | None:
        """When the next probe is due; None while all are under way, or without hosts."""
        return min((host.probe_at for host in self._hosts.values() if not host.being_probed), default=None)

    def handle(self, event: HealthEvent, now: float) -> list[HealthAction]:
        """Take in what happened. Hosts that are not in the table are ignored."""
        match event:
            case HostAnswered(address):
                return self._answered(address, now)
            case HostFailed(address, error):
                return self._failed(address, error, now)
            case Tick():
                return self._due(now)
            case _:
                assert_never(event)

    def _answered(self, address: Address, now: float) -> list[HealthAction]:
        host = self._hosts.get(address)
        if host is None:
            return []
        is_news = not host.up or not host.heard
        host.up = host.heard = True
        host.failures = 0
        host.being_probed = False
        host.probe_at = now + self._settings.probe_seconds
        return [HostCameUp(address)] if is_news else []

    def _failed(self, address: Address, error: str, now: float) -> list[HealthAction]:
        host = self._hosts.get(address)
        if host is None:
            return []
        host.failures += 1
        host.being_probed = False
        host.probe_at = now + self._settings.retry_seconds
        if not host.up or host.failures < self._settings.failures_to_down:
            return []
        host.up = False
        return [HostWentDown(address, error)]

    def _due(self, now: float) -> list[HealthAction]:
        actions: list[HealthAction] = []
        for address, host in self._hosts.items():
            if not host.being_probed and host.probe_at <= now:
                host.being_probed = True
                actions.append(Probe(address))
        return actions
