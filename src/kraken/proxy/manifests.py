"""Pushes of manifests: checked against what the repository has, stored, and made known to the index."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress

from kraken.core.digest import Digest
from kraken.core.errors import Invalid, KrakenError, NotFound
from kraken.index.client import IndexClient
from kraken.observability.events import Event
from kraken.oci.errors import Code, Problem, RegistryError
from kraken.oci.manifests import Manifest, ManifestRecord, parse_manifest
from kraken.oci.references import RepositoryName, Tag
from kraken.origin.client import OriginClient
from kraken.proxy.observers import Observers
from kraken.proxy.settings import PushSettings


class Manifests:
    """Pushes of manifests."""

    def __init__(
        self, origins: OriginClient, indexes: IndexClient, observers: Observers, settings: PushSettings
    ) -> None:
        self._origins = origins
        self._indexes = indexes
        self._log = observers.log
        self._metrics = observers.metrics
        self._clock = observers.clock
        self._settings = settings

    @property
    def max_bytes(self) -> int:
        """The longest manifest that is accepted."""
        return self._settings.max_manifest_bytes

    async def put(
        self, repository: RepositoryName, data: bytes, content_type: str | None, digest: Digest, tags: Sequence[Tag]
    ) -> Manifest:
        """Store a manifest, and let `tags` mean it.

        Raises: RegistryError, when it is refused; OutOfSpace; Unavailable.
        """
        begun = self._clock.now()
        result = "failed"
        try:
            manifest = _parsed(data, content_type)
            await self._check_tags(repository, tags, digest)
            sizes, children = await self._check_dependencies(repository, manifest)
            await self._origins.put_blob(digest, data)
            record = ManifestRecord(digest, manifest.media_type, len(data))
            await self._indexes.put_manifest(repository, record, manifest, tags, sizes, children)
            result = "ok"
        except KrakenError as error:
            self._log.info(Event.PUSH_FAILED, repository=str(repository), digest=str(digest), error=str(error))
            raise
        finally:
            self._metrics.pushes.labels(kind="manifest", result=result).inc()
        self._metrics.push_bytes.inc(len(data))
        self._log.info(
            Event.PUSH_FINISHED,
            repository=str(repository),
            digest=str(digest),
            bytes=len(data),
            seconds=round(self._clock.now() - begun, 3),
            media_type=manifest.media_type,
        )
        for tag in tags:
            self._log.info(Event.TAG_WRITTEN, repository=str(repository), tag=str(tag), digest=str(digest))
        return manifest

    async def _check_tags(self, repository: RepositoryName, tags: Sequence[Tag], digest: Digest) -> None:
        """Raises: RegistryError, when one of the tags must not move and means something else."""
        for tag in self._settings.immutable(repository, tags):
            with suppress(NotFound):
                meant = (await self._indexes.resolve(repository, tag)).digest
                if meant != digest:
                    raise RegistryError(
                        Code.DENIED, f"{repository}:{tag} is immutable and means {meant}; push under another tag"
                    )

    async def _check_dependencies(
        self, repository: RepositoryName, manifest: Manifest
    ) -> tuple[dict[Digest, int], Collection[ManifestRecord]]:
        """Refuse a manifest that could not be pulled whole. What its children need was checked when they came.

        Returns: the sizes of its blobs, and those of its children that are here.
        Raises: RegistryError, with one problem for each that is missing.
        """
        blobs = list(dict.fromkeys(it.digest for it in manifest.blobs if not it.foreign))
        children = list(dict.fromkeys(it.digest for it in manifest.children))
        links, sizes = await asyncio.gather(
            self._indexes.links(repository, blobs), self._origins.stat(blobs), return_exceptions=True
        )
        if isinstance(links, BaseException):
            raise links
        there = links.keys() if isinstance(sizes, BaseException) else links.keys() & sizes.keys()
        missing = [digest for digest in blobs if digest not in there]
        known = await self._indexes.manifests(repository, children)
        if not self._settings.sparse_indexes:
            missing += [digest for digest in children if digest not in known]
        if missing:
            first, *more = (_missing(digest) for digest in missing)
            raise RegistryError(first.code, first.message, detail=first.detail, more=more)
        if isinstance(sizes, BaseException):
            raise sizes  # an origin that may have the bytes cannot be asked
        return sizes, known.values()


def _parsed(data: bytes, content_type: str | None) -> Manifest:
    try:
        return parse_manifest(data, content_type)
    except Invalid as error:
        raise RegistryError(Code.MANIFEST_INVALID, str(error)) from error


def _missing(digest: Digest) -> Problem:
    return Problem(
        Code.MANIFEST_BLOB_UNKNOWN, f"{digest} has not been pushed to this repository", {"digest": str(digest)}
    )
