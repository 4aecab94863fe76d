"""How agents and proxies have the origins read from other registries.

Everybody asks the same origin for the same thing, the first that answers in the order of its rank, so that the
upstream is asked once. What that origin says is final: another one would only ask the upstream again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from kraken.cluster.io.members import Members
from kraken.core.digest import Digest
from kraken.core.errors import Unavailable
from kraken.core.peers import Address
from kraken.oci.references import Reference, RepositoryName
from kraken.origin.messages import FetchAnswer, MirroredAnswer
from kraken.runtime.clock import Clock
from kraken.runtime.web_client import HttpClient, NoAnswer

T = TypeVar("T")

_COMING: Final = 1.0


class MirrorClient:
    """The port `MirrorSource` of a registry's read side."""

    def __init__(self, http: HttpClient, members: Members, clock: Clock, patience_seconds: float) -> None:
        """Args: patience_seconds, how long a client may wait for a blob that is being fetched."""
        self._http = http
        self._members = members
        self._clock = clock
        self._patience_seconds = patience_seconds

    async def refresh(self, repository: RepositoryName, reference: Reference) -> None:
        params = {"repository": str(repository), "reference": str(reference)}

        async def ask(host: Address) -> None:
            await self._http.json("POST", host, "/mirror/manifests", params=params, into=MirroredAnswer)

        await self._first(str(repository), ask)

    async def fetch(self, repository: RepositoryName, digest: Digest) -> None:
        params = {"repository": str(repository), "digest": str(digest)}

        async def ask(host: Address) -> FetchAnswer:
            return await self._http.json("POST", host, "/mirror/blobs", params=params, into=FetchAnswer)

        deadline = self._clock.now() + self._patience_seconds
        while not (answer := await self._first(str(digest), ask)).is_here:
            if self._clock.now() > deadline:
                raise Unavailable(answer.told, retry_after=_COMING)

    async def _first(self, key: str, ask: Callable[[Address], Awaitable[T]]) -> T:
        """Raises: NoAnswer, when no origin answers; what the first that answers says."""
        silence = NoAnswer("no origin is configured; mirrors need cluster.origins")
        for host in self._members.ranked(key):
            try:
                return await ask(host)
            except NoAnswer as error:
                self._members.report_failure(host, str(error))
                silence = error
        raise silence
