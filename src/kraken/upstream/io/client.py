"""The client of one upstream: what its tags mean, its manifests, and its blobs."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import aiohttp

from kraken.core.digest import Algorithm, Digest
from kraken.core.errors import Invalid, Unavailable
from kraken.core.pieces import MIB
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.oci.manifests import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from kraken.oci.paths import blob_location, manifest_location
from kraken.oci.references import Reference, RepositoryName
from kraken.runtime.clock import Clock
from kraken.runtime.threads import FileThreads
from kraken.upstream.errors import LeftAlone, Throttled, Unreachable
from kraken.upstream.io.exchange import Exchange
from kraken.upstream.io.gate import Gate, Sleep
from kraken.upstream.io.web import chunks, read
from kraken.upstream.resuming import Progress, part_of
from kraken.upstream.settings import UpstreamSettings

_ACCEPT: Final = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))
_NO_HEAD: Final = frozenset({405, 501})

_MAX_BREAKS: Final = 5
_MUCH: Final = 4 * MIB
"""A blob may break off so many times with less than this between; so the number is bounded by its size."""

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 30.0
_MAX_ETAGS: Final = 4096


@dataclass(frozen=True, slots=True)
class FetchedManifest:
    """The bytes of a manifest, which have this digest. `content_type` is the header as it came."""

    data: bytes
    content_type: str | None
    digest: Digest


class UpstreamRegistry:
    """Reads from one registry.

    Of all methods: NotFound, when it does not have it; Denied, when it does not let us read it (a NotFound too);
    Rejected, when it takes offence at the request; LoginRefused; Throttled; LeftAlone; and Unavailable, whose
    `retry_after` says when it makes sense to try again.
    """

    def __init__(
        self,
        settings: UpstreamSettings,
        threads: FileThreads,
        clock: Clock,
        log: Log,
        metrics: Metrics,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Raises: BadConfig, when its certificates cannot be used."""
        self.settings = settings
        self.name = settings.name
        self._log = log
        self._sleep = sleep
        self._bytes = metrics.upstream_bytes.labels(upstream=settings.name)
        self._exchange = Exchange(settings, threads, clock, log, metrics)
        self._gate = Gate(settings, clock, log, metrics, sleep)
        self._streams = asyncio.Semaphore(settings.max_connections // 2)
        self._etags: OrderedDict[tuple[RepositoryName, Reference], tuple[str, Digest]] = OrderedDict()
        if settings.insecure_skip_verify:
            log.warning(Event.UPSTREAM_UNVERIFIED, upstream=self.name, url=settings.base_url)

    async def head_manifest(
        self, repository: RepositoryName, reference: Reference, known: Digest | None = None
    ) -> Digest | None:
        """The digest that a reference means there now; None when only a GET can tell.

        Args: known, what it meant last: an upstream where it still does says no more than that.
        """
        headers = {"Accept": _ACCEPT}
        if known is not None:
            headers["If-None-Match"] = self._names_of(repository, reference, known)

        async def ask() -> Digest | None:
            path = manifest_location(repository, reference)
            async with await self._exchange.answer("HEAD", path, repository, headers, also=_NO_HEAD) as response:
                if response.status == 304:
                    return known
                return None if response.status in _NO_HEAD else _told_digest(response)

        return await self._gate.question(ask)

    async def get_manifest(self, repository: RepositoryName, reference: Reference) -> FetchedManifest:
        """A manifest, whose bytes have the digest that was asked for, or that the upstream told."""

        async def ask() -> FetchedManifest:
            path = manifest_location(repository, reference)
            async with await self._exchange.answer("GET", path, repository, {"Accept": _ACCEPT}) as response:
                data = await read(response, self.settings.max_manifest_bytes)
                expected = reference if isinstance(reference, Digest) else _told_digest(response)
                digest = self._checked(data, expected, path)
                self._remember_etag(repository, reference, response.headers.get("ETag"), digest)
                return FetchedManifest(data, response.headers.get("Content-Type"), digest)

        return await self._gate.question(ask)

    async def stream_blob(
        self, repository: RepositoryName, digest: Digest, progress: Progress | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of a blob as they come. Close it if you do not exhaust it.

        A blob that has begun goes on after a broken connection; one that has not fails at once. Whether the bytes
        have the digest is for the reader to find out.

        Args: progress, a fresh one, in which the caller can see how much has come.
        """
        progress = progress or Progress()
        breaks = mark = 0
        async with self._streams:
            while True:
                try:
                    async with aclosing(self._rest_of_blob(repository, digest, progress)) as rest:
                        async for chunk in rest:
                            yield chunk
                except Unavailable as error:
                    breaks, mark = _breaks_so_far(breaks, mark, progress.received)
                    if progress.received == 0 or progress.is_too_much or breaks > _MAX_BREAKS:
                        raise
                    self._log.info(
                        Event.UPSTREAM_BLOB_BROKEN, upstream=self.name, digest=digest, at=progress, error=error
                    )
                    await self._sleep(_pause(breaks, error))
                else:
                    return

    async def close(self) -> None:
        await self._exchange.close()

    async def _rest_of_blob(
        self, repository: RepositoryName, digest: Digest, progress: Progress
    ) -> AsyncGenerator[bytes, None]:
        """What of a blob has not come yet, over one connection. Raises: Unavailable, when that breaks as well."""
        path = blob_location(repository, digest)
        headers = {"Range": f"bytes={progress.received}-"} if progress.received else {}
        async with await self._gate.request(
            lambda: self._exchange.answer("GET", path, repository, headers)
        ) as response:
            skip = self._admitted(response, digest, progress)
            async with aclosing(chunks(response)) as body:
                async for chunk in body:
                    rest = chunk[skip:] if skip else chunk
                    skip -= min(skip, len(chunk))
                    progress.received += len(rest)
                    if progress.is_too_much:
                        raise Unavailable(f"{self.name} sends more of {digest} than it has: {progress}")
                    self._bytes.inc(len(rest))
                    yield rest
        if progress.total is not None and progress.received < progress.total:
            raise Unreachable(f"{self.name} broke {digest} off after {progress}")

    def _admitted(self, response: aiohttp.ClientResponse, digest: Digest, progress: Progress) -> int:
        """How many of the first bytes of an answer are here already. Raises: Unavailable, when it does not fit."""
        content_range = response.headers.get("Content-Range")
        try:
            part = part_of(response.status, content_range, _content_length(response), progress)
        except Invalid as error:
            raise Unavailable(f"{self.name}, {digest}: {error}") from error
        if part.total is not None:
            progress.total = part.total
        return part.skip

    def _checked(self, data: bytes, expected: Digest | None, path: str) -> Digest:
        """The digest of a manifest's bytes. Raises: Unavailable, when another one is expected."""
        actual = Digest.of(data, Algorithm.SHA256 if expected is None else expected.algorithm)
        if expected is not None and actual != expected:
            raise Unavailable(f"{self.name}, {path}: {len(data)} bytes came whose digest is {actual}, not {expected}")
        return actual

    def _names_of(self, repository: RepositoryName, reference: Reference, known: Digest) -> str:
        """What the upstream may call these bytes: most registries use the digest as entity tag."""
        etag, digest = self._etags.get((repository, reference), ("", known))
        return f'"{known}", {etag}' if etag and digest == known else f'"{known}"'

    def _remember_etag(
        self, repository: RepositoryName, reference: Reference, etag: str | None, digest: Digest
    ) -> None:
        """Keep the name that the upstream has for these bytes, where that is another one than the digest."""
        if etag is None or str(digest) in etag or len(etag) > 256:
            return
        self._etags[repository, reference] = (etag, digest)
        self._etags.move_to_end((repository, reference))
        if len(self._etags) > _MAX_ETAGS:
            self._etags.popitem(last=False)


def _told_digest(response: aiohttp.ClientResponse) -> Digest | None:
    try:
        return Digest.parse(response.headers.get("Docker-Content-Digest", ""))
    except Invalid:
        return None


def _content_length(response: aiohttp.ClientResponse) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


def _breaks_so_far(breaks: int, mark: int, received: int) -> tuple[int, int]:
    """One break more, or the first one since much had come; and how much has come then."""
    return (1, received) if received - mark >= _MUCH else (breaks + 1, mark)


def _pause(breaks: int, error: Unavailable) -> float:
    """Longer each time, and as long as we are to stay away where that is known, within bounds."""
    away = error.retry_after if isinstance(error, Throttled | LeftAlone) else 0.0
    return min(max(_FIRST_PAUSE_SECONDS * 4.0 ** (breaks - 1), away), _LONGEST_PAUSE_SECONDS)
