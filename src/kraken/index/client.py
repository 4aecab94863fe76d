"""How other components speak to the index nodes, of which any minority may be down or behind.

A write counts when a majority of the configured nodes has it durably. A read waits for a majority of answers
and takes the newest of each row, removals included: the two majorities share a node, so what was acknowledged
is seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from kraken.cluster.io.members import Members
from kraken.core.digest import Digest
from kraken.core.errors import Invalid, KrakenError, NotFound, OutOfSpace, Unavailable
from kraken.core.peers import Address
from kraken.index.messages import (
    DigestsBody,
    LinksAnswer,
    ManifestEntry,
    ManifestsAnswer,
    ReferrersAnswer,
    RepositoriesAnswer,
    TagsAnswer,
    UsedAnswer,
    WriteAnswer,
    link_from_wire,
    manifest_from_wire,
    referrer_from_wire,
    tags_from_wire,
    write_to_wire,
)
from kraken.index.records import Entry, Removal, TagRows, Write, new_manifest, newest
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

_READ_SECONDS = 5.0
_WRITE_SECONDS = 15.0
"""A node that does not answer within this time did not answer. A write may wait for a slow disk."""

_CLOSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Link:
    """A blob that a repository has: its size in bytes, and when that was last confirmed."""

    size: int
    version: Version


@dataclass(frozen=True, slots=True)
class _Found(Generic[T]):
    value: T


@dataclass(slots=True)
class _Answers(Generic[T]):
    """What the nodes said: values, how many said that there is none, and why the others said nothing."""

    found: list[T] = field(default_factory=list)
    missing: int = 0
    failures: list[KrakenError] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Nodes that answered the question."""
        return len(self.found) + self.missing

    def add(self, outcome: _Found[T] | KrakenError) -> None:
        if isinstance(outcome, _Found):
            self.found.append(outcome.value)
        elif isinstance(outcome, NotFound):
            self.missing += 1
        else:
            self.failures.append(outcome)

    def plus(self, other: _Answers[T]) -> _Answers[T]:
        return _Answers(self.found + other.found, self.missing + other.missing, self.failures + other.failures)


class IndexClient:
    """Reads and writes tags, manifests and links on all index nodes at once.

    Args: node, 16 hex digits that no other client of the cluster has; they tell two writes of one
    millisecond apart.
    """

    def __init__(self, http: HttpClient, members: Members, clock: Clock, node: str) -> None:
        self._http = http
        self._members = members
        self._clock = clock
        self._versions = HybridClock(node)
        self._lookups: FreshAnswers[tuple[RepositoryName, Reference], tuple[ManifestRecord, Version]] = FreshAnswers()
        self._lingering: set[asyncio.Task[object]] = set()

    async def close(self) -> None:
        """Give writes that a majority already has a moment to reach the rest, then let go."""
        await self._lookups.close()
        if self._lingering:
            await asyncio.wait(self._lingering, timeout=_CLOSE_SECONDS)
        for task in list(self._lingering):
            task.cancel()

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
    ) -> None:
        """Make a manifest known to a repository, and let `tags` mean it from now on.

        Args: links, blobs that it needs and their sizes in bytes; the repository has them from now on, whatever a
        collector is doing to them meanwhile.

        Raises: Unavailable or OutOfSpace, when no majority of the nodes took it. It may be seen nevertheless.
        """
        new = new_manifest(record, manifest)
        meant = dict.fromkeys(tags, record.digest)
        await self._write(lambda version: Write(repository, version, new, meant, links or {}))

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

    async def manifests(self, repository: RepositoryName, digests: Collection[Digest]) -> set[Digest]:
        """Which of these manifests the repository has.

        Raises: Unavailable, when too few nodes answer to know.
        """
        body = DigestsBody([str(digest) for digest in digests], str(repository))

        async def ask(node: Address) -> dict[Digest, Entry[ManifestRecord]]:
            answer = await self._http.json("POST", node, "/manifests/known", body=body, into=ManifestsAnswer)
            return {Digest.parse(digest): manifest_from_wire(it) for digest, it in answer.manifests.items()}

        return set(await self._rows(ask, digests))

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

        answers = await self._ask_surely(ask)
        return set[Digest]().union(*answers.found)

    async def tags(self, repository: RepositoryName, page: PageRequest) -> NamePage:
        """A page of a repository's tags, in bytewise order.

        Raises: NotFound, when there is no such repository; Unavailable, when too few nodes answer to know that.
        """
        names: list[str] = []
        last, more = page.last, True
        while more and len(names) <= page.limit:
            stretch, last = await self._stretch_of_tags(repository, last, page.limit + 1 - len(names))
            names += stretch
            more = last is not None
        return NamePage(tuple(names[: page.limit]), more=len(names) > page.limit)

    async def tags_of(self, repository: RepositoryName, manifest: Digest) -> list[Tag]:
        """The tags that mean a manifest. Raises: Unavailable, when too few nodes answer to know all."""
        params = {"repository": str(repository), "manifest": str(manifest)}

        async def ask(node: Address) -> TagRows:
            return tags_from_wire(await self._http.json("GET", node, "/tags/of", params=params, into=TagsAnswer))

        answers = await self._ask_surely(ask)
        return [Tag(name) for name in sorted(_standing(dict(found.rows) for found in answers.found))]

    async def referrers(self, repository: RepositoryName, subject: Digest) -> list[Referrer]:
        """The manifests of a repository that are about `subject`, in no particular order.

        Raises: Unavailable, when too few nodes answer to know all.
        """
        params = {"repository": str(repository), "subject": str(subject)}

        async def ask(node: Address) -> dict[Digest, Entry[Referrer]]:
            answer = await self._http.json("GET", node, "/referrers", params=params, into=ReferrersAnswer)
            return dict(map(referrer_from_wire, answer.referrers))

        answers = await self._ask_surely(ask)
        return [referrer for referrer, _version in _standing(answers.found).values()]

    async def repositories(self, page: PageRequest) -> NamePage:
        """A page of all repositories, in bytewise order. Raises: Unavailable, when too few nodes answer to know all."""
        params: dict[str, str | int] = {"limit": page.limit + 1}
        if page.last is not None:
            params["last"] = page.last

        async def ask(node: Address) -> set[str]:
            answer = await self._http.json("GET", node, "/repositories", params=params, into=RepositoriesAnswer)
            return {RepositoryName(name).text for name in answer.repositories}

        answers = await self._ask_surely(ask)
        merged = sorted(set[str]().union(*answers.found))
        return NamePage(tuple(merged[: page.limit]), more=len(merged) > page.limit)

    @property
    def _node_count(self) -> int:
        return len(self._members.hosts)

    @property
    def _majority(self) -> int:
        return self._node_count // 2 + 1

    async def _lookup(self, repository: RepositoryName, reference: Reference) -> tuple[ManifestRecord, Version]:
        params = {"repository": str(repository), "reference": str(reference)}

        async def ask(node: Address) -> Entry[ManifestRecord]:
            return manifest_from_wire(
                await self._http.json("GET", node, "/manifests", params=params, into=ManifestEntry)
            )

        def standing(found: Sequence[Entry[ManifestRecord]]) -> tuple[ManifestRecord, Version] | None:
            entry = newest(found) if found else None
            return None if entry is None or entry.value is None else (entry.value, entry.version)

        answers = await self._ask(ask, lambda found: standing(found) is not None)
        record = standing(answers.found)
        if record is None:
            self._check_certain(answers)
            raise NotFound(f"{repository} has no manifest {reference}")
        return record

    async def _stretch_of_tags(
        self, repository: RepositoryName, last: str | None, limit: int
    ) -> tuple[list[str], str | None]:
        """Some of the tags that follow `last`, and where to go on; None when these are all."""
        params: dict[str, str | int] = {"repository": str(repository), "limit": limit}
        if last is not None:
            params["last"] = last

        async def ask(node: Address) -> TagRows:
            return tags_from_wire(await self._http.json("GET", node, "/tags", params=params, into=TagsAnswer))

        def exists(found: Sequence[TagRows]) -> bool:
            return any(it.exists for it in found)

        answers = await self._ask(ask, exists)
        if not exists(answers.found):
            self._check_certain(answers)
            raise NotFound(f"there is no repository {repository}")
        # What a node does not tell beyond the end of its answer, another node must not decide alone.
        end = min((found.rows[-1][0] for found in answers.found if found.more), default=None)
        standing = _standing(dict(found.rows) for found in answers.found)
        return sorted(tag for tag in standing if end is None or tag <= end), end

    async def _rows(
        self, ask: Callable[[Address], Awaitable[dict[Digest, Entry[T]]]], digests: Collection[Digest]
    ) -> dict[Digest, tuple[T, Version]]:
        """Those rows that exist. Raises: Unavailable, when one of them was not found and might yet exist."""
        if not digests:
            return {}
        answers = await self._ask(ask, lambda found: _standing(found).keys() >= set(digests))
        standing = _standing(answers.found)
        if not standing.keys() >= set(digests):
            self._check_certain(answers)
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

        # Every node gets it, also those that count as down: one that just came back must not miss it.
        answers = await self._gather(self._members.hosts, put, self._majority, _WRITE_SECONDS, linger=True)
        if len(answers.found) < self._majority:
            raise _too_few(answers, self._node_count)
        return max(answers.found)

    async def _ask_surely(self, asking: Callable[[Address], Awaitable[T]]) -> _Answers[T]:
        """Answers of so many nodes that nothing is missed. Raises: Unavailable, when there are too few."""
        answers = await self._ask(asking, lambda _found: False)
        self._check_certain(answers)
        return answers

    async def _ask(
        self, asking: Callable[[Address], Awaitable[T]], suffices: Callable[[Sequence[T]], bool]
    ) -> _Answers[T]:
        """Answers of a majority of the nodes, or of all that can answer when they are fewer.

        Args: suffices, whether what a minority said will do, so that nobody waits for nodes that count as down.
        """
        healthy = self._members.healthy()
        answers = await self._gather(healthy, asking, self._majority, _READ_SECONDS, linger=False)
        if not self._is_certain(answers) and not suffices(answers.found):
            others = [node for node in self._members.hosts if node not in healthy]
            late = await self._gather(others, asking, self._majority - answers.count, _READ_SECONDS, linger=False)
            answers = answers.plus(late)
        return answers

    async def _gather(
        self,
        nodes: Sequence[Address],
        asking: Callable[[Address], Awaitable[T]],
        enough: int,
        seconds: float,
        *,
        linger: bool,
    ) -> _Answers[T]:
        """Ask `nodes` at once, until `enough` have answered or all have had their time.

        Args: linger, whether those that have not answered by then may finish, or are broken off.
        """
        answers: _Answers[T] = _Answers()
        pending = {asyncio.create_task(self._outcome(node, asking, seconds), name="ask_index") for node in nodes}
        try:
            while pending and answers.count < enough:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    answers.add(task.result())
        finally:
            for task in pending:
                if linger:
                    self._lingering.add(task)
                    task.add_done_callback(self._lingering.discard)
                else:
                    task.cancel()
        return answers

    async def _outcome(
        self, node: Address, asking: Callable[[Address], Awaitable[T]], seconds: float
    ) -> _Found[T] | KrakenError:
        """What one node says, its errors included."""
        try:
            async with asyncio.timeout(seconds):
                value = await asking(node)
        except TimeoutError:
            error = Unavailable(f"{node} did not answer within {seconds:g} seconds")
        except Invalid as invalid:
            error = Unavailable(f"{node} and this component do not understand each other: {invalid}")
        except Unavailable as unavailable:
            error = unavailable
        except KrakenError as told:
            self._members.report_success(node)
            return told
        else:
            self._members.report_success(node)
            return _Found(value)
        if not isinstance(error, OutOfSpace):
            self._members.report_failure(node, str(error))
        return error

    def _is_certain(self, answers: _Answers[T]) -> bool:
        """Whether a write that was acknowledged must be known to one of those who answered."""
        return answers.count >= max(1, self._node_count - self._majority + 1)

    def _check_certain(self, answers: _Answers[T]) -> None:
        if not self._is_certain(answers):
            raise _too_few(answers, self._node_count)


def _standing(found: Iterable[Mapping[K, Entry[T]]]) -> dict[K, tuple[T, Version]]:
    """The rows that exist, as the newest of what several nodes know of each."""
    merged: dict[K, Entry[T]] = {}
    for rows in found:
        for key, entry in rows.items():
            known = merged.get(key)
            if known is None or known.version < entry.version:
                merged[key] = entry
    return {key: (entry.value, entry.version) for key, entry in merged.items() if entry.value is not None}


def _too_few(answers: _Answers[T], nodes: int) -> KrakenError:
    """Why there were not enough answers; a full disk is worth its own name."""
    full = next((error for error in answers.failures if isinstance(error, OutOfSpace)), None)
    if full is not None:
        return full
    reasons = "; ".join(map(str, answers.failures)) or "no index node is configured"
    return Unavailable(f"only {answers.count} of {nodes} index nodes answered: {reasons}")
