"""How other components speak to the index nodes, of which any minority may be down or behind.

A write counts when a majority of the configured nodes has it durably. A read waits for a majority of answers
and takes the newest of each row, removals included: the two majorities share a node, so what was acknowledged
is seen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from kraken.cluster.io.members import Members
from kraken.core.digest import Digest
from kraken.core.errors import NotFound, Unavailable
from kraken.core.peers import Address
from kraken.index.messages import (
    MAX_PAGE,
    DigestsBody,
    KeptAnswer,
    LinksAnswer,
    ManifestEntry,
    ManifestsAnswer,
    NeedsAnswer,
    ReferrersAnswer,
    RepositoriesAnswer,
    TagsAnswer,
    UsedAnswer,
    WriteAnswer,
    link_from_wire,
    manifest_from_wire,
    needs_from_wire,
    referrer_from_wire,
    suspects_to_wire,
    tags_from_wire,
    write_to_wire,
)
from kraken.index.quorum import Quorum
from kraken.index.records import Entry, Removal, TagRows, Write, new_manifest, newest
from kraken.index.suspects import Need, Suspect
from kraken.index.versions import HybridClock, Version
from kraken.oci.manifests import Manifest, ManifestRecord
from kraken.oci.pages import NamePage, PageRequest
from kraken.oci.references import Reference, RepositoryName, Tag
from kraken.oci.referrers import Referrer
from kraken.runtime.clock import Clock
from kraken.runtime.fresh_answers import FreshAnswers
from kraken.runtime.web_client import HttpClient

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

_WRITE_ATTEMPTS = 4
"""A write that meets newer versions is repeated with a newer one of its own; so often, then others are too busy."""


@dataclass(frozen=True, slots=True)
class Link:
    """A blob that a repository has: its size in bytes, and when that was last confirmed."""

    size: int
    version: Version


class IndexClient:
    """Reads and writes tags, manifests and links on all index nodes at once.

    Args: node, 16 hex digits that no other client of the cluster has; they tell two writes of one
    millisecond apart.
    """

    def __init__(self, http: HttpClient, members: Members, clock: Clock, node: str) -> None:
        self._http = http
        self._quorum = Quorum(members)
        self._clock = clock
        self._versions = HybridClock(node)
        self._lookups: FreshAnswers[tuple[RepositoryName, Reference], tuple[ManifestRecord, Version]] = FreshAnswers()

    async def close(self) -> None:
        """Give writes that a majority already has a moment to reach the rest, then let go."""
        await self._lookups.close()
        await self._quorum.close()

    async def resolve(self, repository: RepositoryName, reference: Reference) -> ManifestRecord:
        """What a tag or digest means, as of the newest write that was acknowledged.

        Raises: NotFound, when it means nothing; Unavailable, when too few nodes answer to know that.
        """
        return (await self.lookup(repository, reference))[0]

    async def lookup(self, repository: RepositoryName, reference: Reference) -> tuple[ManifestRecord, Version]:
        """What a tag or digest means, and since which version. Raises as `resolve` does."""
        return await self._lookups.get((repository, reference), lambda: self._lookup(repository, reference))

    async def put_manifest(
        self,
        repository: RepositoryName,
        record: ManifestRecord,
        manifest: Manifest,
        tags: Sequence[Tag] = (),
        links: Mapping[Digest, int] | None = None,
        children: Iterable[ManifestRecord] = (),
    ) -> None:
        """Make a manifest known to a repository, and let `tags` mean it from now on.

        Args: links, blobs that it needs and their sizes in bytes; the repository has them from now on, whatever a
        collector is doing to them meanwhile; children, manifests that it names and the repository has, likewise.
        Raises: Unavailable or OutOfSpace, when no majority of the nodes took it. It may be seen nevertheless.
        """
        new = new_manifest(record, manifest)
        meant, kept = dict.fromkeys(tags, record.digest), tuple(children)
        await self._write(lambda version: Write(repository, version, new, meant, links or {}, kept))

    async def put_tag(self, repository: RepositoryName, tag: Tag, manifest: Digest) -> None:
        """Let a tag mean a manifest that the repository has, as of now. Raises as `put_manifest` does."""
        await self._write(lambda version: Write(repository, version, tags={tag: manifest}))

    async def link(self, repository: RepositoryName, links: Mapping[Digest, int]) -> None:
        """Let a repository have blobs, given with their sizes in bytes. Raises as `put_manifest` does."""
        await self._write(lambda version: Write(repository, version, links=links))

    async def remove(
        self,
        repository: RepositoryName,
        *,
        tags: Sequence[Tag] = (),
        manifests: Sequence[Digest] = (),
        links: Sequence[Digest] = (),
    ) -> None:
        """Take things from a repository; what was not there is no error. Raises as `put_manifest` does."""
        removed = Removal(tuple(tags), tuple(manifests), tuple(links))
        await self._write(lambda version: Write(repository, version, removed=removed))

    async def manifests(self, repository: RepositoryName, digests: Collection[Digest]) -> dict[Digest, ManifestRecord]:
        """Those of these manifests that the repository has.

        Raises: Unavailable, when too few nodes answer to know.
        """
        body = DigestsBody([str(digest) for digest in digests], str(repository))

        async def ask(node: Address) -> dict[Digest, Entry[ManifestRecord]]:
            answer = await self._http.json("POST", node, "/manifests/known", body=body, into=ManifestsAnswer)
            return {Digest.parse(digest): manifest_from_wire(it) for digest, it in answer.manifests.items()}

        found = await self._rows(ask, digests)
        return {digest: record for digest, (record, _version) in found.items()}

    async def links(self, repository: RepositoryName, digests: Collection[Digest]) -> dict[Digest, Link]:
        """Those of these blobs that the repository has.

        Raises: Unavailable, when too few nodes answer to know.
        """
        body = DigestsBody([str(digest) for digest in digests], str(repository))

        async def ask(node: Address) -> dict[Digest, Entry[int]]:
            answer = await self._http.json("POST", node, "/links/known", body=body, into=LinksAnswer)
            return {Digest.parse(digest): link_from_wire(it) for digest, it in answer.links.items()}

        found = await self._rows(ask, digests)
        return {digest: Link(size, version) for digest, (size, version) in found.items()}

    async def used(self, digests: Collection[Digest]) -> set[Digest]:
        """Which of these any repository has, as blobs or as manifests; in doubt, it has.

        Raises: Unavailable, when too few nodes answer to know.
        """
        body = DigestsBody([str(digest) for digest in digests])

        async def ask(node: Address) -> set[Digest]:
            answer = await self._http.json("POST", node, "/used", body=body, into=UsedAnswer)
            return set(map(Digest.parse, answer.digests))

        answers = await self._quorum.ask_surely(ask)
        return set[Digest]().union(*answers.found)

    async def tags(self, repository: RepositoryName, page: PageRequest) -> NamePage:
        """A page of a repository's tags, in bytewise order.

        Raises: NotFound, when there is no such repository; Unavailable, when too few nodes answer to know that.
        """
        names: list[str] = []
        last, more = page.last, True
        while more and len(names) <= page.limit:
            stretch, last = await self._stretch_of_tags(repository, last, page.limit + 1 - len(names))
            names += sorted(stretch)
            more = last is not None
        return NamePage(tuple(names[: page.limit]), more=len(names) > page.limit)

    async def tag_versions(self, repository: RepositoryName) -> dict[str, Version]:
        """All tags that a repository has, and the version of each.

        Raises: Unavailable, when too few nodes answer to know all.
        """
        versions: dict[str, Version] = {}
        last, more = None, True
        with suppress(NotFound):
            while more:
                stretch, last = await self._stretch_of_tags(repository, last, MAX_PAGE)
                versions |= stretch
                more = last is not None
        return versions

    async def needs(self, suspects: Sequence[Suspect]) -> list[list[Need]]:
        """For each suspect, what those of a majority who keep it need it for. Raises: Unavailable."""
        body = suspects_to_wire(suspects)

        async def ask(node: Address) -> list[list[Need]]:
            answer = await self._http.json("POST", node, "/garbage/needed", body=body, into=NeedsAnswer)
            return needs_from_wire(answer, len(suspects))

        answers = await self._quorum.ask_majority(ask)
        return [[need for told in of_one for need in told] for of_one in zip(*answers, strict=True)]

    async def remove_suspects(self, suspects: Sequence[Suspect]) -> set[int]:
        """Remove what a majority lets go; each with the version that undoes the write that was looked at, and no other.

        Returns: the numbers of those that stay, for they were written meanwhile.
        Raises: Unavailable or OutOfSpace, when no majority of the nodes took it.
        """
        body = suspects_to_wire(suspects)

        async def tell(node: Address) -> list[int]:
            return (await self._http.json("POST", node, "/garbage/removed", body=body, into=KeptAnswer)).kept

        return set[int]().union(*await self._quorum.tell_all(tell))

    async def tags_of(self, repository: RepositoryName, manifest: Digest) -> list[Tag]:
        """The tags that mean a manifest. Raises: Unavailable, when too few nodes answer to know all."""
        params = {"repository": str(repository), "manifest": str(manifest)}

        async def ask(node: Address) -> TagRows:
            return tags_from_wire(await self._http.json("GET", node, "/tags/of", params=params, into=TagsAnswer))

        answers = await self._quorum.ask_surely(ask)
        return [Tag(name) for name in sorted(_standing(dict(found.rows) for found in answers.found))]

    async def referrers(self, repository: RepositoryName, subject: Digest) -> list[Referrer]:
        """The manifests of a repository that are about `subject`, in no particular order.

        Raises: Unavailable, when too few nodes answer to know all.
        """
        params = {"repository": str(repository), "subject": str(subject)}

        async def ask(node: Address) -> dict[Digest, Entry[Referrer]]:
            answer = await self._http.json("GET", node, "/referrers", params=params, into=ReferrersAnswer)
            return dict(map(referrer_from_wire, answer.referrers))

        answers = await self._quorum.ask_surely(ask)
        return [referrer for referrer, _version in _standing(answers.found).values()]

    async def repositories(self, page: PageRequest) -> NamePage:
        """A page of all repositories, in bytewise order. Raises: Unavailable, when too few nodes answer to know all."""
        params: dict[str, str | int] = {"limit": page.limit + 1}
        if page.last is not None:
            params["last"] = page.last

        async def ask(node: Address) -> set[str]:
            answer = await self._http.json("GET", node, "/repositories", params=params, into=RepositoriesAnswer)
            return {RepositoryName(name).text for name in answer.repositories}

        answers = await self._quorum.ask_surely(ask)
        merged = sorted(set[str]().union(*answers.found))
        return NamePage(tuple(merged[: page.limit]), more=len(merged) > page.limit)

    async def _lookup(self, repository: RepositoryName, reference: Reference) -> tuple[ManifestRecord, Version]:
        params = {"repository": str(repository), "reference": str(reference)}

        async def ask(node: Address) -> Entry[ManifestRecord]:
            return manifest_from_wire(
                await self._http.json("GET", node, "/manifests", params=params, into=ManifestEntry)
            )

        def standing(found: Sequence[Entry[ManifestRecord]]) -> tuple[ManifestRecord, Version] | None:
            entry = newest(found) if found else None
            return None if entry is None or entry.value is None else (entry.value, entry.version)

        answers = await self._quorum.ask(ask, lambda found: standing(found) is not None)
        record = standing(answers.found)
        if record is None:
            self._quorum.check_certain(answers)
            raise NotFound(f"{repository} has no manifest {reference}")
        return record

    async def _stretch_of_tags(
        self, repository: RepositoryName, last: str | None, limit: int
    ) -> tuple[dict[str, Version], str | None]:
        """Some of the tags that follow `last`, and where to go on; None when these are all."""
        params: dict[str, str | int] = {"repository": str(repository), "limit": limit}
        if last is not None:
            params["last"] = last

        async def ask(node: Address) -> TagRows:
            return tags_from_wire(await self._http.json("GET", node, "/tags", params=params, into=TagsAnswer))

        def exists(found: Sequence[TagRows]) -> bool:
            return any(it.exists for it in found)

        answers = await self._quorum.ask(ask, exists)
        if not exists(answers.found):
            self._quorum.check_certain(answers)
            raise NotFound(f"there is no repository {repository}")
        # What a node does not tell beyond the end of its answer, another node must not decide alone.
        end = min((found.rows[-1][0] for found in answers.found if found.more), default=None)
        standing = _standing(dict(found.rows) for found in answers.found)
        return {tag: version for tag, (_, version) in standing.items() if end is None or tag <= end}, end

    async def _rows(
        self, ask: Callable[[Address], Awaitable[dict[Digest, Entry[T]]]], digests: Collection[Digest]
    ) -> dict[Digest, tuple[T, Version]]:
        """Those rows that exist. Raises: Unavailable, when one of them was not found and might yet exist."""
        if not digests:
            return {}
        answers = await self._quorum.ask(ask, lambda found: _standing(found).keys() >= set(digests))
        standing = _standing(answers.found)
        if not standing.keys() >= set(digests):
            self._quorum.check_certain(answers)
        return standing

    async def _write(self, change: Callable[[Version], Write]) -> None:
        for _attempt in range(_WRITE_ATTEMPTS):
            version = self._versions.next(int(self._clock.wall().timestamp() * 1000))
            write = change(version)
            stands = await self._write_to_all(write)
            if stands == version:
                return
            # Another writer's clock is ahead of ours, and so its earlier write stands: be later than that.
            self._versions.observe(stands)
        raise Unavailable(f"too many others are writing to {write.repository}")

    async def _write_to_all(self, write: Write) -> Version:
        """Returns: the greatest version that any of the nodes that answered has now."""
        body = write_to_wire(write)

        async def put(node: Address) -> Version:
            return Version.parse((await self._http.json("POST", node, "/writes", body=body, into=WriteAnswer)).version)

        return max(await self._quorum.tell_all(put))


def _standing(found: Iterable[Mapping[K, Entry[T]]]) -> dict[K, tuple[T, Version]]:
    """The rows that exist, as the newest of what several nodes know of each."""
    merged: dict[K, Entry[T]] = {}
    for rows in found:
        for key, entry in rows.items():
            known = merged.get(key)
            if known is None or known.version < entry.version:
                merged[key] = entry
    return {key: (entry.value, entry.version) for key, entry in merged.items() if entry.value is not None}
