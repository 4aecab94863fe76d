"""The hosts of one kind, as one component sees them: probed, ranked, and with their cards."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import assert_never

from kraken.cluster.hashring import rank
from kraken.cluster.health import (
    HealthAction,
    HealthEvent,
    HealthTable,
    HostAnswered,
    HostCameUp,
    HostFailed,
    HostWentDown,
    Probe,
    Tick,
)
from kraken.cluster.hosts import NODE_PATH, NodeCard
from kraken.cluster.settings import ClusterSettings
from kraken.core.errors import KrakenError, Unavailable
from kraken.core.peers import Address
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.runtime.clock import Clock, SystemClock
from kraken.runtime.tasks import Tasks
from kraken.runtime.web_client import HttpClient


class Members:
    """Who of the configured hosts lives, and whom to ask for a key.

    Between `start` and `stop` each host is probed by GET /node. Failures that users meet are reported by
    `report_failure`, so that a dead host is avoided before the next probe finds it.
    """

    def __init__(
        self,
        kind: str,
        hosts: Iterable[Address],
        client: HttpClient,
        settings: ClusterSettings,
        log: Log,
        metrics: Metrics,
        clock: Clock | None = None,
    ) -> None:
        """Args: kind, what the hosts are: origin, tracker or index; one that says it is another is not used."""
        self.kind = kind
        self.hosts = tuple(dict.fromkeys(hosts))
        self._client = client
        self._settings = settings
        self._log = log
        self._metrics = metrics
        self._clock = clock or SystemClock()
        self._table = HealthTable(self.hosts, settings, self._clock.now())
        self._cards: dict[Address, NodeCard] = {}
        self._tasks = Tasks(log, metrics)
        self._changed = asyncio.Event()
        self._count()

    async def start(self) -> None:
        """Begin to probe; returns at once."""
        self._tasks.spawn("probe_hosts", self._drive())

    async def stop(self) -> None:
        await self._tasks.close()

    def ranked(self, key: str) -> list[Address]:
        """All hosts in the order in which to ask them for `key`: the living ones by rank, then the others."""
        return sorted(rank(key, self.hosts), key=lambda host: not self._table.is_up(host))

    def owners(self, key: str, replicas: int | None = None) -> list[Address]:
        """The hosts that must hold `key`, whether they live or not: `cluster.replicas` unless told otherwise."""
        return rank(key, self.hosts)[: replicas or self._settings.replicas]

    def healthy(self) -> list[Address]:
        """The hosts that are believed to answer, in the configured order."""
        return [host for host in self.hosts if self._table.is_up(host)]

    def heard(self) -> list[Address]:
        """The hosts that have answered and not failed since: for readiness, where hope is not enough."""
        return [host for host in self.hosts if self._table.is_heard(host)]

    def is_healthy(self, host: Address) -> bool:
        return self._table.is_up(host)

    def card(self, host: Address) -> NodeCard | None:
        """What the host last said of itself; None before it was reached."""
        return self._cards.get(host)

    def report_failure(self, host: Address, error: str = "a request got no answer") -> None:
        """A request to the host got no answer."""
        self._tell(HostFailed(host, error))

    def report_success(self, host: Address) -> None:
        """A request to the host was answered."""
        if not self._table.is_heard(host):
            self._tell(HostAnswered(host))

    async def _drive(self) -> None:
        while True:
            deadline = self._table.next_deadline()
            timeout = None if deadline is None else max(0.0, deadline - self._clock.now())
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._changed.wait()
            self._tell(Tick())

    def _tell(self, event: HealthEvent) -> None:
        for action in self._table.handle(event, self._clock.now()):
            self._perform(action)
        self._changed.set()

    def _perform(self, action: HealthAction) -> None:
        match action:
            case Probe(host):
                self._tasks.spawn("probe_host", self._probe(host))
            case HostCameUp(host):
                self._log.info(Event.HOST_UP, kind=self.kind, host=str(host))
                self._count()
            case HostWentDown(host, error):
                self._log.warning(Event.HOST_DOWN, kind=self.kind, host=str(host), error=error)
                self._count()
            case _:
                assert_never(action)

    async def _probe(self, host: Address) -> None:
        try:
            async with asyncio.timeout(self._settings.probe_timeout_seconds):
                card = await self._client.json("GET", host, NODE_PATH, into=NodeCard)
            self._admit(host, card)
        except TimeoutError:
            self._tell(HostFailed(host, f"no answer within {self._settings.probe_timeout_seconds} s"))
        except KrakenError as error:
            self._tell(HostFailed(host, str(error)))
        else:
            self._tell(HostAnswered(host))

    def _admit(self, host: Address, card: NodeCard) -> None:
        """Keep a card. Raises: Invalid, Unavailable, when it cannot be that of such a host."""
        if card.kind != self.kind:
            raise Unavailable(f"{host} is a component of kind {card.kind!r:.40}, not {self.kind}")
        card.peer_address(host)
        card.peer_id_bytes()
        self._cards[host] = card

    def _count(self) -> None:
        self._metrics.cluster_hosts_up.labels(kind=self.kind).set(len(self.healthy()))
