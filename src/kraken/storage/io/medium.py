"""What a store is written on: the blocking half of a store, run in threads.

`CatalogBlobStore` and `UploadSessions` decide what happens to which blob; a medium does it to files. There
is one on disk and one in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from kraken.core.digest import Digest
from kraken.core.metainfo import Metainfo
from kraken.storage.io.blob_file import Fingerprint
from kraken.storage.layout import SessionId


@dataclass(frozen=True, slots=True)
class Found:
    """A blob that a medium held when it was opened. `used_at` is UTC seconds.

    `sure` is False for a complete blob without the metainfo of its size: it may have been cut short.
    """

    digest: Digest
    size: int
    used_at: float
    complete: bool
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Opened:
    """An open blob: descriptors for the caller to close, and the claimed pieces (bit i = piece i).

    `claims_fd` is -1 for a complete blob, whose every piece is claimed.
    """

    fd: int
    claims_fd: int
    metainfo: Metainfo
    claimed: int


class Medium(Protocol):
    """Blocking operations on the files of one store. Each is atomic: after a crash it happened or did not."""

    def start(self) -> list[Found]:
        """Take possession, sweep what a crash left, and tell what is here. Raises: BadConfig."""
        ...

    def close(self) -> None:
        """Let go of it. Open blobs stay readable."""
        ...

    def load(self, digest: Digest, size: int, *, complete: bool, now: float) -> Opened:
        """Open a blob and note the use. Raises: FileNotFoundError; Corrupt, when it cannot be the blob."""
        ...

    def write(self, metainfo: Metainfo, data: bytes) -> Fingerprint:
        """Make a complete blob of these bytes, durably. Raises: OutOfSpace, leaving nothing."""
        ...

    def create(self, metainfo: Metainfo) -> Opened:
        """Make an empty partial blob with all its room reserved. Raises: OutOfSpace, leaving nothing."""
        ...

    def commit(self, metainfo: Metainfo, fd: int) -> None:
        """Make a partial blob a complete one, durably. Raises: OutOfSpace."""
        ...

    def demote(self, metainfo: Metainfo, held: int) -> int:
        """Make a complete blob a partial one with these pieces. Returns: its claims_fd."""
        ...

    def set_aside(self, digest: Digest, size: int, *, complete: bool, stamp: int) -> None:
        """Move a blob into quarantine. Args: stamp, UTC nanoseconds."""
        ...

    def delete(self, digest: Digest, size: int, *, complete: bool) -> None:
        """Remove a blob and all that belongs to it."""
        ...

    def create_upload(self, session: SessionId) -> None:
        """Make an empty upload, unless it exists."""
        ...

    def open_upload(self, session: SessionId) -> int:
        """A descriptor of an upload, for reading and writing. Raises: FileNotFoundError."""
        ...

    def delete_upload(self, session: SessionId) -> bool:
        """Remove an upload. Returns: whether it was there."""
        ...

    def uploads(self) -> Iterable[tuple[SessionId, float]]:
        """The uploads with the UTC seconds of their last change."""
        ...

    def adopt_upload(self, session: SessionId, metainfo: Metainfo) -> None:
        """Make a whole upload a complete blob, durably. Raises: OutOfSpace, and the upload stays."""
        ...
