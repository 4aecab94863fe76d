"""The upstreams of an origin."""

from __future__ import annotations

from collections.abc import Sequence

from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.oci.namespaces import MirroredName, Namespace, mirrored_name
from kraken.oci.references import RepositoryName
from kraken.runtime.clock import Clock
from kraken.runtime.threads import FileThreads
from kraken.upstream.io.client import UpstreamRegistry
from kraken.upstream.settings import UpstreamSettings


class Upstreams:
    """A client for each registry that is mirrored."""

    def __init__(
        self, settings: Sequence[UpstreamSettings], threads: FileThreads, clock: Clock, log: Log, metrics: Metrics
    ) -> None:
        """Raises: BadConfig, when the certificates of one cannot be used."""
        self._registries: dict[Namespace, UpstreamRegistry] = {
            each.namespace: UpstreamRegistry(each, threads, clock, log, metrics) for each in settings
        }

    def find(self, repository: RepositoryName) -> tuple[UpstreamRegistry, MirroredName] | None:
        """Where a repository of this cluster comes from; None when it is no mirrored one."""
        name = mirrored_name(repository)
        registry = None if name is None else self._registries.get(name.namespace)
        return None if name is None or registry is None else (registry, name)

    async def close(self) -> None:
        for registry in self._registries.values():
            await registry.close()
