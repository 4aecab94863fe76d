"""What repositories have, as far as this agent was told lately.

A blob may be here and be no longer in the repository that it is asked for in, or never have been. The index says
which repository has what; its answers count for a while, and a manifest speaks for everything that it names. So a
pull costs the index one question, about the tag.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, Protocol

from kraken.core.digest import Digest
from kraken.core.errors import NotFound, Unavailable
from kraken.index.client import Link
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.oci.references import RepositoryName
from kraken.runtime.clock import Clock

_REMEMBERED: Final = 32768


class Links(Protocol):
    """Who knows which blobs repositories have; `IndexClient` in earnest."""

    async def links(self, repository: RepositoryName, digests: list[Digest]) -> dict[Digest, Link]:
        """Those that the repository has. Raises: Unavailable."""
        ...


class RepositoryContents:
    """Remembers what was confirmed, for `valid_seconds`."""

    def __init__(self, links: Links, valid_seconds: float, clock: Clock, log: Log) -> None:
        self._links = links
        self._valid_seconds = valid_seconds
        self._clock = clock
        self._log = log
        self._confirmed_at: OrderedDict[tuple[RepositoryName, Digest], float] = OrderedDict()

    async def check_blob(self, repository: RepositoryName, digest: Digest) -> None:
        """Return when the repository has the blob; also when no index node can say, for then pulls must go on.

        Raises: NotFound.
        """
        if self.is_confirmed(repository, digest):
            return
        try:
            links = await self._links.links(repository, [digest])
        except Unavailable as error:
            about = {"repository": str(repository), "digest": str(digest)}
            self._log.warning(Event.BLOB_SERVED_UNCONFIRMED, **about, error=str(error))
            return
        if digest not in links:
            raise NotFound(f"{repository} has no blob {digest}")
        self.confirm(repository, [digest])

    def is_confirmed(self, repository: RepositoryName, digest: Digest) -> bool:
        """Whether it was confirmed lately that the repository has this blob or manifest."""
        at = self._confirmed_at.get((repository, digest))
        return at is not None and self._clock.now() - at < self._valid_seconds

    def confirm(self, repository: RepositoryName, digests: Iterable[Digest]) -> None:
        """The index has just said so, or a manifest for which it did."""
        now = self._clock.now()
        for digest in digests:
            self._confirmed_at[repository, digest] = now
            self._confirmed_at.move_to_end((repository, digest))
        while len(self._confirmed_at) > _REMEMBERED:
            self._confirmed_at.popitem(last=False)
