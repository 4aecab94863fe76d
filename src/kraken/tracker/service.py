"""What a tracker does: it answers announces from its table, and relays metainfo from the origins."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from kraken.cluster.io.members import Members
from kraken.core.digest import Digest
from kraken.core.errors import Invalid
from kraken.core.metainfo import Metainfo
from kraken.core.peers import Address, Role
from kraken.observability.metrics import Metrics
from kraken.runtime.clock import Clock
from kraken.tracker.messages import AnnounceReply, AnnounceRequest, PeerEntry, SwarmAnnounce
from kraken.tracker.peer_table import AnnounceArrived, PeerTable, SendReply, Tick
from kraken.tracker.settings import AnnounceSettings

_ENTRY_OVERHEAD = 512
"""Bytes that a cached metainfo costs beside its own."""


class AnnounceDesk:
    """Drives a `PeerTable`: every announce waits here for its answer, which may be due a little later."""

    def __init__(self, table: PeerTable, clock: Clock, metrics: Metrics) -> None:
        self._table = table
        self._clock = clock
        self._metrics = metrics
        self._waiting: dict[int, asyncio.Future[AnnounceReply]] = {}
        self._next_ticket = 0
        self._timer: asyncio.TimerHandle | None = None

    async def announce(
        self, peer: PeerEntry, swarms: Sequence[tuple[SwarmAnnounce, Sequence[PeerEntry]]]
    ) -> AnnounceReply:
        """The answer to an announce. It comes at once, or after the hold time of a young swarm."""
        ticket = self._next_ticket
        self._next_ticket += 1
        answer: asyncio.Future[AnnounceReply] = asyncio.get_running_loop().create_future()
        self._waiting[ticket] = answer
        try:
            self._perform(self._table.handle(AnnounceArrived(ticket, peer, swarms), self._clock.now()))
            return await answer
        finally:
            del self._waiting[ticket]

    def close(self) -> None:
        """Stop the clockwork; who still waits is told no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for answer in self._waiting.values():
            answer.cancel()

    def _perform(self, actions: Sequence[SendReply]) -> None:
        for action in actions:
            answer = self._waiting.get(action.ticket)
            if answer is not None and not answer.done():  # else whoever asked is gone
                answer.set_result(action.reply)
        self._metrics.tracker_swarms.set(self._table.swarm_count)
        self._metrics.tracker_peers.set(self._table.peer_count)
        self._set_timer()

    def _set_timer(self) -> None:
        deadline = self._table.next_deadline()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            delay = max(0.0, deadline - self._clock.now())
            self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._perform(self._table.handle(Tick(), self._clock.now()))


class MetainfoSource(Protocol):
    """Where metainfo comes from: the origins."""

    async def metainfo(self, digest: Digest) -> tuple[Metainfo, bytes | None]:
        """The metainfo of a blob, and its bytes when they are few. Raises: NotFound; Unavailable."""
        ...


class MetainfoRelay:
    """Metainfo from the origins, kept while there is room; each is asked for once at a time."""

    def __init__(self, source: MetainfoSource, cache_bytes: int, metrics: Metrics) -> None:
        self._source = source
        self._room = cache_bytes
        self._metrics = metrics
        self._cache: OrderedDict[Digest, tuple[bytes, bytes | None]] = OrderedDict()
        self._under_way: dict[Digest, asyncio.Task[tuple[bytes, bytes | None]]] = {}

    async def get(self, digest: Digest) -> tuple[bytes, bytes | None]:
        """Encoded metainfo, and the blob's bytes when they are few.

        Raises: NotFound; Unavailable.
        """
        if (known := self._cache.get(digest)) is not None:
            self._cache.move_to_end(digest)
            self._metrics.tracker_metainfo.labels(source="cache").inc()
            return known
        task = self._under_way.get(digest)
        if task is None:
            task = self._under_way[digest] = asyncio.create_task(self._fetch(digest), name="metainfo")
            task.add_done_callback(lambda done: self._landed(digest, done))
        # Shielded: the first asker may go away, and the others still wait for the same answer.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, digest: Digest) -> tuple[bytes, bytes | None]:
        metainfo, content = await self._source.metainfo(digest)
        self._metrics.tracker_metainfo.labels(source="origin").inc()
        found = (metainfo.encode(), content)
        self._keep(digest, found)
        return found

    def _keep(self, digest: Digest, found: tuple[bytes, bytes | None]) -> None:
        self._cache[digest] = found
        self._room -= _cost(found)
        while self._room < 0:
            _, oldest = self._cache.popitem(last=False)
            self._room += _cost(oldest)

    def _landed(self, digest: Digest, task: asyncio.Task[tuple[bytes, bytes | None]]) -> None:
        del self._under_way[digest]
        if not task.cancelled():
            task.exception()  # mark it as seen: those who asked may all be gone


class TrackerService:
    """Admits announces and finds the origins of their blobs."""

    def __init__(self, desk: AnnounceDesk, origins: Members, replicas: int, settings: AnnounceSettings) -> None:
        self._desk = desk
        self._origins = origins
        self._replicas = replicas
        self._settings = settings

    async def announce(self, request: AnnounceRequest, remote: str) -> AnnounceReply:
        """Answer an announce.

        Args: remote, the address at the other end of the connection.
        Raises: Invalid, when a part of it is malformed.
        """
        peer = PeerEntry(request.peer_id, self._host(request, remote), request.port, _role(request.role).value)
        swarms = [(swarm, self._owners(swarm)) for swarm in request.swarms]
        return await self._desk.announce(peer, swarms)

    def _host(self, request: AnnounceRequest, remote: str) -> str:
        if self._settings.trust_announced_host and request.host is not None:
            return Address(request.host, request.port).host
        return Address(_as_host(remote), request.port).host

    def _owners(self, swarm: SwarmAnnounce) -> list[PeerEntry]:
        """The peers of the origins that own the blob and say where their peer port is."""
        key = str(Digest.parse(swarm.digest))
        if swarm.left or swarm.want == 0:
            return []
        owners = filter(self._origins.is_healthy, self._origins.owners(key, self._replicas))
        entries = map(self._origin_peer, owners)
        return [entry for entry in entries if entry is not None]

    def _origin_peer(self, address: Address) -> PeerEntry | None:
        card = self._origins.card(address)
        if card is None:
            return None
        peer, peer_id = card.peer_address(address), card.peer_id_bytes()
        if peer is None or peer_id is None:
            return None
        return PeerEntry(peer_id, peer.host, peer.port, Role.ORIGIN.value)


def peer_table(settings: AnnounceSettings) -> PeerTable:
    """A table with chance that the system seeded. Asking the system for each number costs three times as much."""
    return PeerTable(settings, random.Random())


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise Invalid(f"{text!r} is not the role of a peer") from None


def _as_host(remote: str) -> str:
    """An address of a socket as a host: IPv6 in brackets, without scope; IPv4 inside IPv6 as IPv4."""
    bare = remote.partition("%")[0]
    if bare.startswith("::ffff:") and "." in bare:
        return bare.removeprefix("::ffff:")
    return f"[{bare}]" if ":" in bare else bare


def _cost(found: tuple[bytes, bytes | None]) -> int:
    return len(found[0]) + len(found[1] or b"") + _ENTRY_OVERHEAD
