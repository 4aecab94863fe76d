"""An index store in memory, for tests and for clusters that keep nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kraken.core.digest import Digest
from kraken.index.records import ManifestWrite, Resolved
from kraken.index.versions import Version
from kraken.oci.manifests import ManifestRecord
from kraken.oci.references import Reference, RepositoryName, Tag
from kraken.oci.referrers import Referrer


class MemoryIndexStore:
    """Tags and manifests in two dictionaries."""

    def __init__(self) -> None:
        self._manifests: dict[RepositoryName, dict[Digest, Resolved]] = {}
        self._tags: dict[RepositoryName, dict[Tag, tuple[Digest, Version]]] = {}
        self._about: dict[tuple[RepositoryName, Digest], dict[Digest, Referrer]] = {}

    async def put(self, write: ManifestWrite) -> Version:
        manifests = self._manifests.setdefault(write.repository, {})
        tags = self._tags.setdefault(write.repository, {})
        stored = manifests.get(write.record.digest)
        if stored is None or stored.version < write.version:
            manifests[write.record.digest] = Resolved(write.record, write.version)
        if (about := write.about) is not None:
            known = self._about.setdefault((write.repository, about.subject), {})
            known[write.record.digest] = Referrer(write.record, about.artifact_type, about.annotations)
        for tag in write.tags:
            if tag not in tags or tags[tag][1] < write.version:
                tags[tag] = (write.record.digest, write.version)
        return max([manifests[write.record.digest].version, *(tags[tag][1] for tag in write.tags)])

    async def resolve(self, repository: RepositoryName, reference: Reference) -> Resolved | None:
        manifests = self._manifests.get(repository, {})
        if isinstance(reference, Digest):
            return manifests.get(reference)
        found = self._tags.get(repository, {}).get(reference)
        if found is None:
            return None
        record: ManifestRecord = manifests[found[0]].record
        return Resolved(record, found[1])

    async def known(self, repository: RepositoryName, digests: Collection[Digest]) -> set[Digest]:
        return self._manifests.get(repository, {}).keys() & set(digests)

    async def tags(self, repository: RepositoryName, last: str | None, limit: int) -> Sequence[str] | None:
        if repository not in self._manifests:
            return None
        names = sorted(tag.text for tag in self._tags[repository])
        return [name for name in names if last is None or name > last][:limit]

    async def referrers(self, repository: RepositoryName, subject: Digest) -> Sequence[Referrer]:
        known = self._about.get((repository, subject), {})
        return [known[digest] for digest in sorted(known, key=str)]

    async def repositories(self, last: str | None, limit: int) -> Sequence[str]:
        names = sorted(str(repository) for repository in self._manifests)
        return [name for name in names if last is None or name > last][:limit]

    async def close(self) -> None:
        """Nothing to let go of."""
