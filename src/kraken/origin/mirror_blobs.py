"""The blobs of mirrored repositories: each is read from its upstream once, however many ask for it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field

from kraken.core.digest import Digest
from kraken.core.errors import KrakenError, NotFound, Rejected, Unavailable
from kraken.core.metainfo import Metainfo
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.oci.namespaces import MirroredName
from kraken.origin.mirror_failures import log_failure
from kraken.origin.mirror_manifests import MirroredManifests
from kraken.origin.mirror_ports import Blobs, Upstream
from kraken.runtime.clock import Clock
from kraken.runtime.single_flight import SingleFlight
from kraken.upstream.errors import Denied
from kraken.upstream.resuming import Progress
from kraken.upstream.settings import MirrorSettings

_WRONG_BYTES_SECONDS = 10.0
"""Who was sent wrong bytes tries again after this: not at once, for a whole blob is read each time."""


@dataclass(slots=True)
class _Fetch:
    """A blob on its way, and where from. `begun` is monotonic seconds, `waits` until it is its turn."""

    source: MirroredName
    begun: float
    progress: Progress = field(default_factory=Progress)
    waits: bool = True

    def __str__(self) -> str:
        return "waits for its turn" if self.waits else f"is being fetched from {self.source}: {self.progress} are here"


class StillFetching(Unavailable):
    """A blob is on its way, and its fetch goes on."""


class MirroredBlobs:
    """Fetches blobs from upstreams into the cluster."""

    def __init__(
        self,
        blobs: Blobs,
        manifests: MirroredManifests,
        settings: MirrorSettings,
        clock: Clock,
        log: Log,
        metrics: Metrics,
    ) -> None:
        self._blobs = blobs
        self._manifests = manifests
        self._settings = settings
        self._clock = clock
        self._log = log
        self._turns = asyncio.Semaphore(settings.max_fetches)
        self._fetches: dict[Digest, _Fetch] = {}
        self._flights: SingleFlight[Digest, Metainfo] = SingleFlight("mirror_blob", log, metrics)
        metrics.upstream_fetches.set_function(lambda: len(self._fetches))

    async def fetch(self, upstream: Upstream, name: MirroredName, digest: Digest) -> Metainfo:
        """A blob that is in the cluster when this returns. Whoever goes away does not stop the fetch.

        Raises: NotFound, Denied; OutOfSpace; Unavailable, when it cannot be had now, or not so soon: then the message
        tells how much is here, and the fetch goes on.
        """
        found = await self._blobs.find(digest)
        deadline = self._clock.now() + self._settings.wait_seconds
        while found is None:
            fetch, flight = self._join(upstream, name, digest)
            await asyncio.wait([flight], timeout=deadline - self._clock.now())
            if not flight.done():
                raise StillFetching(f"blob {digest} {fetch}", retry_after=1.0)
            error = flight.exception()
            if error is None:
                return flight.result()
            if fetch.source == name or not isinstance(error, KrakenError):
                raise error
            # It failed for another repository, which says nothing about ours.
        return found

    async def close(self) -> None:
        await self._flights.close()

    def _join(self, upstream: Upstream, name: MirroredName, digest: Digest) -> tuple[_Fetch, asyncio.Future[Metainfo]]:
        """The fetch of a blob that is under way, or begins now. Raises: Unavailable, when there are too many."""
        fetch = self._fetches.get(digest)
        if fetch is None:
            if len(self._fetches) >= self._settings.max_waiting:
                raise Unavailable(f"{len(self._fetches)} blobs wait to be fetched already; {digest} is one too many")
            fetch = self._fetches[digest] = _Fetch(name, self._clock.now())
        return fetch, self._flights.join(digest, lambda: self._run(upstream, fetch, digest))

    async def _run(self, upstream: Upstream, fetch: _Fetch, digest: Digest) -> Metainfo:
        try:
            async with self._turns:
                fetch.waits = False
                metainfo = await self._fetched(upstream, fetch, digest)
        except KrakenError as error:
            log_failure(self._log, fetch.source, digest, error)
            raise
        finally:
            del self._fetches[digest]
        seconds = self._clock.now() - fetch.begun
        self._log.info(
            Event.MIRROR_FETCHED,
            repository=fetch.source.local,
            digest=digest,
            bytes=metainfo.size,
            seconds=round(seconds, 3),
        )
        return metainfo

    async def _fetched(self, upstream: Upstream, fetch: _Fetch, digest: Digest) -> Metainfo:
        """The blob from its upstream; unless it came while this waited."""
        found = await self._blobs.find(digest)
        if found is not None:
            return found
        try:
            return await self._streamed(upstream, fetch, digest)
        except Denied:
            raise
        except NotFound:  # the cluster may know a manifest and have lost its bytes; registries give those another path
            return await self._manifests.fetch(upstream, fetch.source, digest)

    async def _streamed(self, upstream: Upstream, fetch: _Fetch, digest: Digest) -> Metainfo:
        source = upstream.stream_blob(fetch.source.repository, digest, fetch.progress)
        try:
            async with aclosing(source) as chunks:
                return await self._blobs.store(digest, chunks)
        except Rejected as error:
            raise Unavailable(
                f"{fetch.source} does not give {digest}: {error}", retry_after=_WRONG_BYTES_SECONDS
            ) from error
