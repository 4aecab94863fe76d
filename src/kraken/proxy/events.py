"""What happened at a proxy, in the terms of notifications."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from kraken.core.digest import Digest
from kraken.notifications.envelope import Action, RegistryEvent
from kraken.notifications.notifier import Notifier
from kraken.notifications.request import request_record
from kraken.oci.io.ports import Pulled
from kraken.oci.manifests import Manifest, ManifestRecord
from kraken.oci.paths import blob_location, manifest_location
from kraken.oci.references import Reference, RepositoryName, Tag
from kraken.runtime.clock import Clock

_BLOB = "application/octet-stream"


class RegistryEvents:
    """Publishes an event for each thing that was done. What changes something is durable before it is answered."""

    def __init__(self, notifier: Notifier, clock: Clock) -> None:
        self._notifier = notifier
        self._clock = clock

    async def blob_pushed(self, request: web.Request, repository: RepositoryName, digest: Digest, size: int) -> None:
        await self._blob(request, Action.PUSH, repository, digest, size)

    async def blob_mounted(
        self, request: web.Request, repository: RepositoryName, digest: Digest, size: int, source: RepositoryName | None
    ) -> None:
        """A mount that names no source is told as a push: what matters is that the repository has the blob now."""
        if source is None:
            await self.blob_pushed(request, repository, digest, size)
        else:
            await self._blob(request, Action.MOUNT, repository, digest, size, from_repository=source)

    async def manifest_pushed(
        self,
        request: web.Request,
        repository: RepositoryName,
        record: ManifestRecord,
        manifest: Manifest,
        tags: Sequence[Tag],
    ) -> None:
        """One event for each tag; one without, when it was pushed by its digest alone."""
        for tag in tags or (None,):
            await self._publish(
                request,
                Action.PUSH,
                repository,
                digest=record.digest,
                tag=tag,
                media_type=record.media_type,
                size=record.size,
                path=manifest_location(repository, record.digest),
                references=(*manifest.blobs, *manifest.children),
            )

    async def deleted(self, request: web.Request, repository: RepositoryName, reference: Reference) -> None:
        if isinstance(reference, Tag):
            await self._publish(request, Action.DELETE, repository, tag=reference)
        else:
            await self._publish(request, Action.DELETE, repository, digest=reference)

    async def pulled(self, request: web.Request, what: Pulled) -> None:
        locate = manifest_location if what.media_type else blob_location
        await self._publish(
            request,
            Action.PULL,
            what.repository,
            digest=what.digest,
            tag=what.reference if isinstance(what.reference, Tag) else None,
            media_type=what.media_type or _BLOB,
            size=what.size,
            path=locate(what.repository, what.digest),
        )

    async def _blob(
        self,
        request: web.Request,
        action: Action,
        repository: RepositoryName,
        digest: Digest,
        size: int,
        **more: object,
    ) -> None:
        path = blob_location(repository, digest)
        await self._publish(request, action, repository, digest=digest, media_type=_BLOB, size=size, path=path, **more)

    async def _publish(self, request: web.Request, action: Action, repository: RepositoryName, **told: Any) -> None:
        event = RegistryEvent(action, repository, self._clock.wall(), request_record(request), **told)
        await self._notifier.publish(event)
