"""What a tag of a mirrored repository means: what the cluster knows while that is fresh, then what the upstream says.

The upstream is asked by HEAD first, which costs no pull where pulls are counted; the manifest itself is fetched only
when the cluster does not have it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from kraken.core.digest import Digest
from kraken.core.errors import Invalid, NotFound, Rejected, Unavailable
from kraken.core.metainfo import Metainfo
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.oci.manifests import ManifestRecord, parse_manifest, plain_media_type
from kraken.oci.namespaces import MirroredName
from kraken.oci.references import Reference, Tag
from kraken.origin.mirror_absences import Absences
from kraken.origin.mirror_failures import log_failure
from kraken.origin.mirror_ports import Blobs, KnownManifest, Names, Upstream
from kraken.runtime.clock import Clock
from kraken.runtime.single_flight import SingleFlight
from kraken.upstream.io.client import FetchedManifest

_Key = tuple[MirroredName, Reference]

_SAYS_NOTHING = frozenset({"application/json", "application/octet-stream", "text/plain"})
"""Types that plain web servers send with a manifest; then its own word counts."""


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What an upstream says of a reference: a manifest that the cluster knows, or one that came just now."""

    known: ManifestRecord | None = None
    fetched: FetchedManifest | None = None


class MirroredManifests:
    """The manifests of mirrored repositories. Whatever is asked for, its upstream is asked once at a time."""

    def __init__(
        self, names: Names, blobs: Blobs, not_found_seconds: float, clock: Clock, log: Log, metrics: Metrics
    ) -> None:
        self._names = names
        self._blobs = blobs
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._absences: Absences[_Key] = Absences(not_found_seconds)
        self._flights: SingleFlight[_Key, ManifestRecord] = SingleFlight("mirror_manifest", log, metrics)

    async def resolve(self, upstream: Upstream, name: MirroredName, reference: Reference) -> ManifestRecord:
        """What a reference means. Raises: NotFound; Rejected, when it is no image; Unavailable."""
        return await self._flights.run((name, reference), lambda: self._resolve(upstream, name, reference))

    async def fetch(self, upstream: Upstream, name: MirroredName, digest: Digest) -> Metainfo:
        """A manifest as a blob, for one whose bytes the cluster has lost. Raises as `resolve` does."""
        fetched = await upstream.get_manifest(name.repository, digest)
        return await self._blobs.put(digest, fetched.data)

    async def close(self) -> None:
        await self._flights.close()

    async def _resolve(self, upstream: Upstream, name: MirroredName, reference: Reference) -> ManifestRecord:
        known = await self._known(name, reference)
        if known is not None and _is_fresh(known, reference, upstream.settings.revalidate_seconds):
            return known.record
        why = self._absences.why((name, reference), self._clock.now())
        if why is not None:
            raise NotFound(why)
        try:
            meaning = await self._asked(upstream, name, reference, known)
        except NotFound as error:
            self._absences.note((name, reference), str(error), self._clock.now())
            log_failure(self._log, name, reference, error)
            raise
        except Unavailable as error:
            if known is None or not upstream.settings.serve_stale:
                log_failure(self._log, name, reference, error)
                raise
            self._served_stale(name, reference, known.record, error)
            return known.record
        return await self._noted(name, reference, meaning)

    async def _known(self, name: MirroredName, reference: Reference) -> KnownManifest | None:
        try:
            return await self._names.resolve(name.local, reference)
        except NotFound:
            return None

    async def _asked(
        self, upstream: Upstream, name: MirroredName, reference: Reference, known: KnownManifest | None
    ) -> _Meaning:
        """What the upstream says. What it tells is asked for by digest: the tag may move meanwhile."""
        if isinstance(reference, Digest):
            return _Meaning(fetched=await upstream.get_manifest(name.repository, reference))
        last = None if known is None else known.record.digest
        digest = await upstream.head_manifest(name.repository, reference, last)
        if digest is None:
            return _Meaning(fetched=await upstream.get_manifest(name.repository, reference))
        if known is not None and digest == last:
            return _Meaning(known=known.record)
        other = await self._known(name, digest)  # under another tag, or before the tag came back to it
        if other is not None:
            return _Meaning(known=other.record)
        return _Meaning(fetched=await upstream.get_manifest(name.repository, digest))

    async def _noted(self, name: MirroredName, reference: Reference, meaning: _Meaning) -> ManifestRecord:
        """What a reference means from now on, as the cluster knows it."""
        if meaning.fetched is not None:
            return await self._stored(name, reference, meaning.fetched)
        assert meaning.known is not None
        assert isinstance(reference, Tag)
        with suppress(Unavailable):  # the answer is right; the next one to ask costs one more HEAD
            await self._names.confirm(name.local, reference, meaning.known)
        return meaning.known

    async def _stored(self, name: MirroredName, reference: Reference, fetched: FetchedManifest) -> ManifestRecord:
        """The bytes first, then the name: what is named can be read."""
        said = plain_media_type(fetched.content_type)
        try:
            manifest = parse_manifest(fetched.data, None if said in _SAYS_NOTHING else said)
        except Invalid as error:
            raise Rejected(f"{name}, {reference}: {error}") from error
        record = ManifestRecord(fetched.digest, manifest.media_type, len(fetched.data))
        await self._blobs.put(record.digest, fetched.data)
        tags = (reference,) if isinstance(reference, Tag) else ()
        await self._names.put(name.local, record, tags, manifest)
        return record

    def _served_stale(
        self, name: MirroredName, reference: Reference, record: ManifestRecord, error: Unavailable
    ) -> None:
        self._metrics.upstream_stale.labels(upstream=name.namespace.registry).inc()
        self._log.warning(
            Event.MIRROR_SERVED_STALE, repository=name.local, tag=reference, digest=record.digest, error=str(error)
        )


def _is_fresh(known: KnownManifest, reference: Reference, revalidate_seconds: float) -> bool:
    """A digest means the same for ever; a tag, for a while."""
    return isinstance(reference, Digest) or known.age_seconds <= revalidate_seconds
