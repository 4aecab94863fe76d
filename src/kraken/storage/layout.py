"""Where a store keeps its files: paths only, no file is touched.

    DATA/blobs/sha256/ab/<hex>        complete blobs, and nothing else ever
    DATA/metainfo/<ab>/<swarm id>     metainfo of complete and partial blobs
    DATA/partial/sha256-<hex>         a blob with holes, at its full length
    DATA/partial/sha256-<hex>.pieces  one byte for each piece: 1 = it was written
    DATA/uploads/<session>            the bytes of an upload session so far
    DATA/quarantine/                  files whose bytes were wrong
    DATA/new/                         files being written; what is here at a start is swept

The swarm id follows from digest and size, so a digest leads to its metainfo by one stat, and a swarm
id leads there directly: the directory is the catalogue. Every name below is made from a value that
was checked (`Digest`, `SessionId`, `SwarmId`), so nothing from outside reaches a path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NewType

from kraken.core.digest import Algorithm, Digest
from kraken.core.errors import Invalid
from kraken.core.metainfo import SWARM_ID_BYTES, SwarmId

SessionId = NewType("SessionId", str)  # made only by session_id()

CLAIMS_SUFFIX = ".pieces"

_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{7,63}")
_SWARM = re.compile(rf"[0-9a-f]{{{SWARM_ID_BYTES * 2}}}")


def session_id(text: str) -> SessionId:
    """Admit the name of an upload session: 8 to 64 letters, digits, `_` and `-`.

    Raises: Invalid, for anything else.
    """
    if not _SESSION.fullmatch(text):
        raise Invalid(f"{text[:80]!r} is not the name of an upload session")
    return SessionId(text)


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one store below `root`."""

    root: Path

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def metainfos(self) -> Path:
        return self.root / "metainfo"

    @property
    def partials(self) -> Path:
        return self.root / "partial"

    @property
    def uploads(self) -> Path:
        return self.root / "uploads"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def new(self) -> Path:
        return self.root / "new"

    def directories(self) -> list[Path]:
        """The directories that a start must find or make, parents first."""
        return [self.root, self.blobs, self.metainfos, self.partials, self.uploads, self.quarantine, self.new]

    def blob(self, digest: Digest) -> Path:
        return self.blobs / digest.algorithm.value / digest.encoded[:2] / digest.encoded

    def metainfo(self, swarm: SwarmId) -> Path:
        name = swarm.hex()
        return self.metainfos / name[:2] / name

    def partial(self, digest: Digest) -> Path:
        return self.partials / _flat(digest)

    def claims(self, digest: Digest) -> Path:
        return self.partials / (_flat(digest) + CLAIMS_SUFFIX)

    def upload(self, session: SessionId) -> Path:
        return self.uploads / session

    def quarantined(self, digest: Digest, stamp: int) -> Path:
        """Args: stamp, UTC nanoseconds: names sort by age, and the same blob can go bad twice."""
        return self.quarantine / f"{stamp:020d}-{_flat(digest)}"


def digest_of_blob(path: Path) -> Digest | None:
    """The digest whose blob lies at `path`; None when no blob belongs there."""
    try:
        digest = Digest(Algorithm(path.parent.parent.name), path.name)
    except (Invalid, ValueError):
        return None
    return digest if path.parent.name == path.name[:2] else None


def digest_of_partial(name: str) -> Digest | None:
    """The digest of the partial blob in the file called `name`; None when it is no such file."""
    algorithm, _, encoded = name.partition("-")
    try:
        return Digest(Algorithm(algorithm), encoded)
    except (Invalid, ValueError):
        return None


def swarm_of_metainfo(name: str) -> SwarmId | None:
    """The swarm whose metainfo is in the file called `name`; None when it is no such file."""
    return SwarmId(bytes.fromhex(name)) if _SWARM.fullmatch(name) else None


def _flat(digest: Digest) -> str:
    return f"{digest.algorithm.value}-{digest.encoded}"
