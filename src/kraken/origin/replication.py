"""Copies of a blob to its owners, and when there are enough of them to say that it is safe."""

from __future__ import annotations

import asyncio
from typing import Protocol

from kraken.core.digest import Digest
from kraken.core.errors import KrakenError, Unavailable
from kraken.core.metainfo import Metainfo
from kraken.core.peers import Address
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.runtime.tasks import Tasks
from kraken.storage.ports import BlobStore


class Placement(Protocol):
    """Who owns what."""

    def owners(self, key: str) -> list[Address]: ...


class ReplicaSender(Protocol):
    """Brings a blob of this origin to another one."""

    async def send(self, host: Address, metainfo: Metainfo) -> None:
        """Return when `host` holds the blob durably, because it had it already or got it now.

        Raises: KrakenError, when that is not known.
        """
        ...


class Replicator:
    """Copies blobs that landed on this origin to those that own them."""

    def __init__(
        self,
        me: Address,
        placement: Placement,
        blobs: BlobStore,
        sender: ReplicaSender,
        write_quorum: int,
        log: Log,
        metrics: Metrics,
    ) -> None:
        self._me = me
        self._placement = placement
        self._blobs = blobs
        self._sender = sender
        self._write_quorum = write_quorum
        self._log = log
        self._metrics = metrics
        self._tasks = Tasks(log, metrics)
        self._running: set[asyncio.Task[None]] = set()

    async def replicate(self, metainfo: Metainfo) -> int:
        """Copy a blob that is here to its owners, all at once.

        Copies that are not needed for the quorum go on in the background. When all owners have it, an origin
        that is not one of them lets its own copy go.

        Returns: how many owners hold it durably so far; at least the quorum.
        Raises: Unavailable, when too few could be reached; what is stored stays.
        """
        safe: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        task = self._tasks.spawn("replicate", self._copy_to_owners(metainfo, safe))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await safe

    async def close(self, drain_seconds: float) -> None:
        """Give copies under way so long to end, then break them off."""
        if self._running:
            await asyncio.wait(self._running, timeout=drain_seconds)
        await self._tasks.close()

    async def _copy_to_owners(self, metainfo: Metainfo, safe: asyncio.Future[int]) -> None:
        owners = self._placement.owners(str(metainfo.digest))
        durable = int(self._me in owners)
        needed = min(self._write_quorum, len(owners))
        copies = [asyncio.ensure_future(self._copy(host, metainfo)) for host in owners if host != self._me]
        try:
            _settle(safe, durable, needed)
            for copy in asyncio.as_completed(copies):
                durable += await copy
                _settle(safe, durable, needed)
        finally:
            for copy in copies:
                copy.cancel()
            if not safe.done():
                safe.set_exception(
                    Unavailable(f"only {durable} of the {needed} owners needed for {metainfo.digest} could store it")
                )
        if self._me not in owners and durable == len(owners):
            await self._blobs.remove(metainfo.digest)

    async def _copy(self, host: Address, metainfo: Metainfo) -> bool:
        try:
            await self._sender.send(host, metainfo)
        except KrakenError as error:
            self._failed(host, metainfo.digest, error)
            return False
        self._metrics.replicas.labels(result="stored").inc()
        return True

    def _failed(self, host: Address, digest: Digest, error: KrakenError) -> None:
        self._metrics.replicas.labels(result="failed").inc()
        self._log.error(Event.REPLICA_FAILED, digest=str(digest), host=str(host), error=str(error))


def _settle(safe: asyncio.Future[int], durable: int, needed: int) -> None:
    if durable >= needed and not safe.done():
        safe.set_result(durable)
