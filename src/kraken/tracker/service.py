"""What a tracker does: it answers announces from its table, and relays metainfo from the origins."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import inf
from typing import Protocol

from kraken.cluster.io.members import Members
from kraken.core.digest import Digest
from kraken.core.errors import NotFound
from kraken.core.metainfo import Metainfo
from kraken.core.peers import Address, Role
from kraken.observability.metrics import Metrics
from kraken.runtime.clock import Clock
from kraken.tracker.live_view import SwarmsView, SwarmView, swarm_view, swarms_view
from kraken.tracker.messages import Announcement, PeerEntry, SwarmAnnounce, encode, joined_entry
from kraken.tracker.peer_table import AnnounceArrived, OriginChoices, PeerTable, SendReply, Tick, origin_choices
from kraken.tracker.settings import AnnounceSettings

_ENTRY_OVERHEAD = 512
"""Bytes that a cached metainfo costs beside its own."""

_OWNERS_SECONDS = 0.5
"""So long the origins of a blob are taken for those that they were: to rank them costs three hashes."""

_MAX_KNOWN_OWNERS = 20_000
_MAX_TOLD = 1024
"""Announcements whose origins are known. Those of a crowd are one."""

_KNOWN_HOSTS = 32_768

Answer = Callable[[bytes], None]
"""Called once with the answer to an announce, encoded."""


class AnnounceDesk:
    """Drives a `PeerTable`: every announce waits here for its answer, which may be due a little later."""

    def __init__(self, table: PeerTable[Answer], clock: Clock, metrics: Metrics) -> None:
        self._table = table
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        metrics.tracker_swarms.set_function(lambda: table.swarm_count)
        metrics.tracker_peers.set_function(lambda: table.peer_count)

    def announce(self, arrived: AnnounceArrived[Answer]) -> None:
        """Call the ticket of an announce with the answer to it: at once, or after the hold time of a young swarm."""
        self._perform(self._table.handle(arrived, self._clock.now()))

    def swarms(self, limit: int) -> SwarmsView:
        """All swarms at this moment; `limit` of them by name, the largest."""
        table = self._table
        return swarms_view(table.rosters, table.swarm_count, table.peer_count, limit, self._clock.now())

    def swarm(self, swarm: bytes, owners: Callable[[str], Sequence[bytes]], limit: int) -> SwarmView:
        """One swarm at this moment; `limit` of its peers by name. Args: owners, gives the origins of a digest.

        Raises: NotFound, when nobody is in it.
        """
        roster = self._table.roster(swarm)
        if roster is None:
            raise NotFound(f"nobody is in a swarm {swarm.hex()} here")
        return swarm_view(roster, owners(roster.digest), limit, self._clock.now())

    def close(self) -> None:
        """Stop the clockwork; who still waits is told no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _perform(self, actions: Sequence[SendReply[Answer]]) -> None:
        for action in actions:
            action.ticket(action.reply)
        deadline = self._table.next_deadline()
        if deadline is not None and deadline < self._timer_at:
            self._set_timer(deadline)

    def _set_timer(self, deadline: float) -> None:
        """Wake up at a deadline that is earlier than what was planned; too early is no harm, so nothing is put off."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        delay = max(0.0, deadline - self._clock.now())
        self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._timer_at = inf
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
        self._known_owners: dict[str, tuple[bytes, ...]] = {}
        self._told: dict[Announcement, list[tuple[SwarmAnnounce, OriginChoices]]] = {}

    def announce(self, peer_id: bytes, said: Announcement, remote: str, answer: Answer) -> None:
        """Call `answer` with the encoded answer to an announce, now or a little later.

        Args: remote, the address at the other end of the connection.
        Raises: Invalid, when a part of it is malformed.
        """
        if self._settings.trust_announced_host and said.host is not None:
            host = encode(Address(said.host, said.port).host)
        else:
            host = _host_of(remote)
        swarms = self._told.get(said)
        if swarms is None:
            swarms = self._with_origins(said)
        peer = joined_entry(peer_id, host, said)
        self._desk.announce(AnnounceArrived(answer, peer, said.role, said.zone, swarms))

    def swarms(self, limit: int) -> SwarmsView:
        """See `AnnounceDesk.swarms`."""
        return self._desk.swarms(limit)

    def swarm(self, swarm: bytes, limit: int) -> SwarmView:
        """See `AnnounceDesk.swarm`."""
        return self._desk.swarm(swarm, self._owners, limit)

    def _with_origins(self, said: Announcement) -> list[tuple[SwarmAnnounce, OriginChoices]]:
        """The swarms of an announcement, and the origins of each. What was found is kept for a moment."""
        count = self._settings.origins
        found = [(swarm, origin_choices(self._origins_for(swarm), count)) for swarm in said.swarms]
        if len(self._told) >= _MAX_TOLD:
            self._told.clear()
        self._forget_soon()
        self._told[said] = found
        return found

    def _origins_for(self, swarm: SwarmAnnounce) -> tuple[bytes, ...]:
        """The origins that a peer may be told of; none, when it wants nobody."""
        known = self._known_owners.get(swarm.digest)
        if known is not None:
            return known
        digest = Digest.parse(swarm.digest)
        return () if swarm.left or not swarm.want else self._owners(str(digest))

    def _owners(self, digest: str) -> tuple[bytes, ...]:
        """The origins that own a blob and say where their peer port is. What was found is kept for a moment."""
        if len(self._known_owners) >= _MAX_KNOWN_OWNERS:
            self._known_owners.clear()
        self._forget_soon()
        owners = filter(self._origins.is_healthy, self._origins.owners(digest, self._replicas))
        entries = map(self._origin_peer, owners)
        found = self._known_owners[digest] = tuple(encode(entry) for entry in entries if entry is not None)
        return found

    def _forget_soon(self) -> None:
        if not self._told and not self._known_owners:
            asyncio.get_running_loop().call_later(_OWNERS_SECONDS, self._forget)

    def _forget(self) -> None:
        self._told.clear()
        self._known_owners.clear()

    def _origin_peer(self, address: Address) -> PeerEntry | None:
        card = self._origins.card(address)
        if card is None:
            return None
        peer, peer_id = card.peer_address(address), card.peer_id_bytes()
        if peer is None or peer_id is None:
            return None
        return PeerEntry(peer_id, peer.host, peer.port, Role.ORIGIN.value)


def peer_table(settings: AnnounceSettings) -> PeerTable[Answer]:
    """A table with chance that the system seeded. Asking the system for each number costs three times as much."""
    return PeerTable(settings, random.Random())


@lru_cache(_KNOWN_HOSTS)
def _host_of(remote: str) -> bytes:
    """An address of a socket as a host, encoded: IPv6 in brackets, without scope; IPv4 inside IPv6 as IPv4."""
    bare = remote.partition("%")[0]
    if bare.startswith("::ffff:") and "." in bare:
        bare = bare.removeprefix("::ffff:")
    return encode(Address(f"[{bare}]" if ":" in bare else bare, 0).host)


def _cost(found: tuple[bytes, bytes | None]) -> int:
    return len(found[0]) + len(found[1] or b"") + _ENTRY_OVERHEAD
