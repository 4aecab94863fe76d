"""How other components speak to the index nodes, of which any minority may be down or behind.

A write counts when a majority of the configured nodes has it durably. A read waits for a majority of answers
and takes the newest: the two majorities share a node, so what was acknowledged is seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from kraken.cluster.io.members import Members
from kraken.core.digest import Digest
from kraken.core.errors import Invalid, KrakenError, NotFound, OutOfSpace, Unavailable
from kraken.core.peers import Address
from kraken.index.messages import (
    KnownAnswer,
    KnownBody,
    PutAnswer,
    ReferrersAnswer,
    RepositoriesAnswer,
    ResolvedAnswer,
    TagsAnswer,
    referrer_from_wire,
    resolved_from_wire,
    write_to_wire,
)
from kraken.index.records import ManifestWrite, Resolved
from kraken.index.versions import HybridClock, Version
from kraken.oci.manifests import ManifestRecord
from kraken.oci.pages import NamePage, PageRequest
from kraken.oci.references import Reference, RepositoryName, Tag
from kraken.oci.referrers import About, Referrer
from kraken.runtime.clock import Clock
from kraken.runtime.web_client import HttpClient

T = TypeVar("T")

_WRITE_ATTEMPTS = 4
"""A write that meets newer versions is repeated with a newer one of its own; so often, then others are too busy."""

_READ_SECONDS = 5.0
_WRITE_SECONDS = 15.0
"""A node that does not answer within this time did not answer. A write may wait for a slow disk."""

_CLOSE_SECONDS = 2.0


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
    """Reads and writes tags and manifests on all index nodes at once.

    Args: node, 16 hex digits that no other client of the cluster has; they tell two writes of one
    millisecond apart.
    """

    def __init__(self, http: HttpClient, members: Members, clock: Clock, node: str) -> None:
        self._http = http
        self._members = members
        self._clock = clock
        self._versions = HybridClock(node)
        self._lingering: set[asyncio.Task[object]] = set()

    async def close(self) -> None:
        """Give writes that a majority already has a moment to reach the rest, then let go."""
        if self._lingering:
            await asyncio.wait(self._lingering, timeout=_CLOSE_SECONDS)
        for task in list(self._lingering):
            task.cancel()

    async def resolve(self, repository: RepositoryName, reference: Reference) -> ManifestRecord:
        """What a tag or digest means, as of the newest write that was acknowledged.

        Raises: NotFound, when it means nothing; Unavailable, when too few nodes answer to know that.
        """
        what = f"{repository} has no manifest {reference}"
        answers = await self._ask(lambda node: self._resolve_at(node, repository, reference))
        self._check_known(answers, what)
        return max(answers.found, key=lambda found: found.version).record

    async def put_manifest(
        self, repository: RepositoryName, record: ManifestRecord, tags: Sequence[Tag], about: About | None = None
    ) -> None:
        """Make a manifest known to a repository, and let `tags` mean it from now on.

        Args: about, when the manifest is about another one: it is listed among the referrers of that from now on.

        Raises: Unavailable or OutOfSpace, when no majority of the nodes took it. It may be seen nevertheless.
        """
        for _attempt in range(_WRITE_ATTEMPTS):
            version = self._versions.next(int(self._clock.wall().timestamp() * 1000))
            write = ManifestWrite(repository, record, tuple(tags), version, about)
            stands = await self._write(write)
            if stands == version:
                return
            # Another writer's clock is ahead of ours, and so its earlier write stands: be later than that.
            self._versions.observe(stands)
        raise Unavailable(f"too many others are writing the same tags of {repository}")

    async def known(self, repository: RepositoryName, digests: Collection[Digest]) -> set[Digest]:
        """Which of these manifests the repository has.

        Raises: Unavailable, when too few nodes answer to know.
        """
        if not digests:
            return set()
        body = KnownBody(str(repository), [str(digest) for digest in digests])
        answers = await self._ask(lambda node: self._known_at(node, body))
        found: set[Digest] = set().union(*answers.found)
        if len(found) < len(set(digests)):
            self._check_certain(answers)
        return found & set(digests)

    async def tags(self, repository: RepositoryName, page: PageRequest) -> NamePage:
        """A page of a repository's tags, in bytewise order.

        Raises: NotFound, when there is no such repository; Unavailable, when too few nodes answer to know that.
        """
        params: dict[str, str | int] = {"repository": str(repository), "limit": page.limit + 1}
        if page.last is not None:
            params["last"] = page.last
        answers = await self._ask(lambda node: self._tags_at(node, params))
        self._check_known(answers, f"there is no repository {repository}")
        # A node that is behind may lack a tag that the others have; nothing is ever missing from the union.
        return _page(answers.found, page.limit)

    async def referrers(self, repository: RepositoryName, subject: Digest) -> list[Referrer]:
        """The manifests of a repository that are about `subject`, in no particular order.

        Raises: Unavailable, when too few nodes answer to know all.
        """
        params = {"repository": str(repository), "subject": str(subject)}
        answers = await self._ask(lambda node: self._referrers_at(node, params))
        self._check_certain(answers)
        return list({it.record.digest: it for found in answers.found for it in found}.values())

    async def repositories(self, page: PageRequest) -> NamePage:
        """A page of all repositories, in bytewise order. Raises: Unavailable, when too few nodes answer to know all."""
        params: dict[str, str | int] = {"limit": page.limit + 1}
        if page.last is not None:
            params["last"] = page.last
        answers = await self._ask(lambda node: self._repositories_at(node, params))
        self._check_certain(answers)
        return _page(answers.found, page.limit)

    @property
    def _node_count(self) -> int:
        return len(self._members.hosts)

    @property
    def _majority(self) -> int:
        return self._node_count // 2 + 1

    async def _resolve_at(self, node: Address, repository: RepositoryName, reference: Reference) -> Resolved:
        params = {"repository": str(repository), "reference": str(reference)}
        answer = await self._http.json("GET", node, "/manifests", params=params, into=ResolvedAnswer)
        return resolved_from_wire(answer)

    async def _known_at(self, node: Address, body: KnownBody) -> set[Digest]:
        answer = await self._http.json("POST", node, "/manifests/known", body=body, into=KnownAnswer)
        return set(map(Digest.parse, answer.digests))

    async def _tags_at(self, node: Address, params: dict[str, str | int]) -> set[str]:
        answer = await self._http.json("GET", node, "/tags", params=params, into=TagsAnswer)
        return {Tag(tag).text for tag in answer.tags}

    async def _referrers_at(self, node: Address, params: dict[str, str]) -> list[Referrer]:
        answer = await self._http.json("GET", node, "/referrers", params=params, into=ReferrersAnswer)
        return list(map(referrer_from_wire, answer.referrers))

    async def _repositories_at(self, node: Address, params: dict[str, str | int]) -> set[str]:
        answer = await self._http.json("GET", node, "/repositories", params=params, into=RepositoriesAnswer)
        return {RepositoryName(name).text for name in answer.repositories}

    async def _put_at(self, node: Address, write: ManifestWrite) -> Version:
        body = write_to_wire(write)
        return Version.parse((await self._http.json("POST", node, "/manifests", body=body, into=PutAnswer)).version)

    async def _write(self, write: ManifestWrite) -> Version:
        """Returns: the greatest version that any of the nodes that answered has now."""
        # Every node gets it, also those that count as down: one that just came back must not miss it.
        answers = await self._gather(
            self._members.hosts, lambda node: self._put_at(node, write), self._majority, _WRITE_SECONDS, linger=True
        )
        if len(answers.found) < self._majority:
            raise _too_few(answers, self._node_count)
        return max(answers.found)

    async def _ask(self, asking: Callable[[Address], Awaitable[T]]) -> _Answers[T]:
        """Answers of a majority of the nodes, or of all that can answer when they are fewer."""
        healthy = self._members.healthy()
        answers = await self._gather(healthy, asking, self._majority, _READ_SECONDS, linger=False)
        if not answers.found and not self._is_certain(answers):
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

    def _check_known(self, answers: _Answers[T], what: str) -> None:
        """Raises: NotFound with `what`, when nobody has it and that is certain; Unavailable, when it is not."""
        if answers.found:
            return
        self._check_certain(answers)
        raise NotFound(what)

    def _check_certain(self, answers: _Answers[T]) -> None:
        if not self._is_certain(answers):
            raise _too_few(answers, self._node_count)


def _page(found: Sequence[set[str]], limit: int) -> NamePage:
    merged = sorted(set[str]().union(*found))
    return NamePage(tuple(merged[:limit]), more=len(merged) > limit)


def _too_few(answers: _Answers[T], nodes: int) -> KrakenError:
    """Why there were not enough answers; a full disk is worth its own name."""
    full = next((error for error in answers.failures if isinstance(error, OutOfSpace)), None)
    if full is not None:
        return full
    reasons = "; ".join(map(str, answers.failures)) or "no index node is configured"
    return Unavailable(f"only {answers.count} of {nodes} index nodes answered: {reasons}")
