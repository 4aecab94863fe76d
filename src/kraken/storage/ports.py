"""The ports of storage: what components may ask of a store, whatever it is made of.

Two stores of each kind exist, on disk and in memory (`storage.io`), and one contract suite holds both
to the promises written here. `BlobFile` is shared by both: a store is made of descriptors.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kraken.core.digest import Digest
from kraken.core.metainfo import Metainfo, SwarmId
from kraken.storage.layout import SessionId

if TYPE_CHECKING:
    from kraken.storage.io.blob_file import BlobFile


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """One entry of a store. `size` is bytes on disk, `used_at` is UTC seconds of the last use."""

    digest: Digest
    size: int
    used_at: float
    complete: bool
    in_use: bool


class BlobStore(Protocol):
    """Blobs by digest, complete or partial.

    Every `BlobFile` that a method hands out carries one reference for the caller, who ends it with
    `release()` or a `with` block. There is one `BlobFile` for a blob at a time, shared by all users.
    """

    async def size(self, digest: Digest) -> int | None:
        """Bytes of a complete blob; None when the store has no such blob."""
        ...

    async def open(self, digest: Digest) -> BlobFile:
        """A complete blob. Raises: NotFound; Corrupt, when its size cannot be the blob's."""
        ...

    async def open_swarm(self, swarm: SwarmId) -> BlobFile | None:
        """The blob of a swarm, complete or partial; None when nothing of it is here."""
        ...

    async def put(self, digest: Digest, data: bytes) -> Metainfo:
        """Make bytes that are at hand a complete blob, durably.

        Succeeds also when the blob exists already. Raises: Rejected, when they have another digest; OutOfSpace.
        """
        ...

    async def partial(self, metainfo: Metainfo) -> BlobFile:
        """A blob to be filled piece by piece; or, if it is here already, what there is of it.

        Pieces that an earlier process wrote are hashed before they count as held.
        Raises: OutOfSpace, and then nothing is left behind.
        """
        ...

    async def finish(self, blob: BlobFile) -> None:
        """Make a partial blob that holds every piece a complete one, durably.

        Raises: Corrupt, when the whole does not have its digest: the file is in quarantine then.
        """
        ...

    async def demote(self, blob: BlobFile) -> None:
        """Make a complete blob that lost pieces a partial one again, so that only those are fetched."""
        ...

    async def quarantine(self, digest: Digest, reason: str) -> None:
        """Set a blob aside, for it is not what its digest says. Nothing happens when it is not here."""
        ...

    async def remove(self, digest: Digest, *, unused_since: float | None = None) -> bool:
        """Forget a blob, complete or partial. Who has it open may read on.

        Args: unused_since, UTC seconds: a blob that was used at that time or later stays.
        Returns: whether it was here and is no longer.
        """
        ...

    def digests(self) -> Iterable[StoredBlob]:
        """The complete blobs, in no particular order."""
        ...

    def stored(self) -> Iterable[StoredBlob]:
        """Everything that takes room: complete and partial blobs."""
        ...

    @property
    def used_bytes(self) -> int:
        """Bytes of all that `stored` tells of."""
        ...


class UploadStore(Protocol):
    """Upload sessions: bytes that arrive in order, hashed as they come, until a commit names their digest.

    One writer at a time has a session; a second one is told Unavailable.
    """

    async def begin(self, session: SessionId) -> None:
        """Open a session. Nothing happens when it is open already."""
        ...

    async def offset(self, session: SessionId) -> int:
        """How many bytes have arrived. Raises: NotFound."""
        ...

    async def append(self, session: SessionId, offset: int | None, chunks: AsyncIterator[bytes]) -> int:
        """Take the next bytes.

        Args: offset, where the sender believes the upload ends; None to append wherever that is.
        Returns: the new offset.
        Raises: NotFound; OffsetMismatch, with nothing stored; OutOfSpace and whatever the stream raises,
        with what arrived before kept.
        """
        ...

    async def commit(self, session: SessionId, digest: Digest) -> Metainfo:
        """Make the bytes a complete blob, durably, and end the session.

        Succeeds also when the blob exists already. Raises: NotFound; Rejected, when the bytes have another
        digest: the session is gone then; OutOfSpace, and the session stays.
        """
        ...

    async def abandon(self, session: SessionId) -> None:
        """Drop a session and its bytes. Raises: NotFound."""
        ...

    async def sweep(self, older_than_seconds: float) -> int:
        """Drop the sessions that nobody wrote to for so long. Returns: how many."""
        ...
