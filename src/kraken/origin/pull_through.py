"""Pull-through: the origins read from other registries on behalf of every host of the cluster.

Whichever component needs something of a mirrored repository asks one origin for it, the first owner of the blob's
digest or of the repository's name; so the upstream is asked once, however many hosts want it.
"""

from __future__ import annotations

from kraken.core.digest import Digest
from kraken.core.errors import NotFound
from kraken.core.metainfo import Metainfo
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.oci.manifests import ManifestRecord
from kraken.oci.namespaces import MirroredName
from kraken.oci.references import Reference, RepositoryName
from kraken.origin.mirror_blobs import MirroredBlobs
from kraken.origin.mirror_manifests import MirroredManifests
from kraken.origin.mirror_ports import Blobs, Names, Upstream, Upstreams
from kraken.runtime.clock import Clock
from kraken.upstream.settings import MirrorSettings


class PullThrough:
    """The repositories of other registries, as if they were here."""

    def __init__(
        self,
        upstreams: Upstreams,
        names: Names,
        blobs: Blobs,
        settings: MirrorSettings,
        clock: Clock,
        log: Log,
        metrics: Metrics,
    ) -> None:
        self._upstreams = upstreams
        self._manifests = MirroredManifests(names, blobs, settings.not_found_seconds, clock, log, metrics)
        self._blobs = MirroredBlobs(blobs, self._manifests, settings, clock, log, metrics)

    def is_mirrored(self, repository: RepositoryName) -> bool:
        """Whether a repository of this cluster comes from another registry."""
        return self._upstreams.find(repository) is not None

    async def resolve(self, repository: RepositoryName, reference: Reference) -> ManifestRecord:
        """What a tag or digest of a mirrored repository means; its bytes are in the cluster then.

        Raises: NotFound, also for a repository that is not mirrored, and for what the upstream does not let us read;
        Rejected, when the upstream has something else than an image there; Unavailable.
        """
        upstream, name = self._source(repository)
        return await self._manifests.resolve(upstream, name, reference)

    async def fetch_blob(self, repository: RepositoryName, digest: Digest) -> Metainfo:
        """A blob of a mirrored repository, which is in the cluster then.

        Raises: NotFound, as `resolve` does; OutOfSpace; Unavailable, also when it takes longer than `wait_seconds`: the
        message tells how much is here, and the fetch goes on.
        """
        upstream, name = self._source(repository)
        return await self._blobs.fetch(upstream, name, digest)

    async def close(self) -> None:
        """Break off what is under way."""
        await self._blobs.close()
        await self._manifests.close()

    def _source(self, repository: RepositoryName) -> tuple[Upstream, MirroredName]:
        found = self._upstreams.find(repository)
        if found is None:
            raise NotFound(f"{repository} belongs to no upstream of this cluster")
        return found
