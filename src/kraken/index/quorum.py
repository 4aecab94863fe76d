"""Asks all index nodes at once, of which any minority may be down or behind.

What was acknowledged is known to a majority, so that every majority of answers has somebody who knows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from kraken.cluster.io.members import Members
from kraken.core.errors import Invalid, KrakenError, NotFound, OutOfSpace, Unavailable
from kraken.core.peers import Address

T = TypeVar("T")

_READ_SECONDS = 5.0
_WRITE_SECONDS = 15.0
"""A node that does not answer within this time did not answer. A write may wait for a slow disk."""

_CLOSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Found(Generic[T]):
    value: T


@dataclass(slots=True)
class Answers(Generic[T]):
    """What the nodes said: values, that there is none, and why the others said nothing."""

    found: list[T] = field(default_factory=list)
    missing: list[KrakenError] = field(default_factory=list)
    failures: list[KrakenError] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Nodes that answered the question."""
        return len(self.found) + len(self.missing)

    def add(self, outcome: _Found[T] | KrakenError) -> None:
        if isinstance(outcome, _Found):
            self.found.append(outcome.value)
        elif isinstance(outcome, NotFound):
            self.missing.append(outcome)
        else:
            self.failures.append(outcome)

    def plus(self, other: Answers[T]) -> Answers[T]:
        return Answers(self.found + other.found, self.missing + other.missing, self.failures + other.failures)


class Quorum:
    """The index nodes, as who needs the answers of a majority of them."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._lingering: set[asyncio.Task[object]] = set()

    async def close(self) -> None:
        """Give writes that a majority already has a moment to reach the rest, then let go."""
        if self._lingering:
            await asyncio.wait(self._lingering, timeout=_CLOSE_SECONDS)
        for task in list(self._lingering):
            task.cancel()

    async def ask(
        self, asking: Callable[[Address], Awaitable[T]], suffices: Callable[[Sequence[T]], bool]
    ) -> Answers[T]:
        """Answers of a majority of the nodes, or of all that can answer when they are fewer.

        Args: suffices, whether what a minority said will do, so that nobody waits for nodes that count as down.
        """
        return await self._ask(asking, lambda answers: self._is_certain(answers) or suffices(answers.found))

    async def ask_surely(self, asking: Callable[[Address], Awaitable[T]]) -> Answers[T]:
        """Answers of so many nodes that nothing is missed. Raises: Unavailable, when there are too few."""
        answers = await self.ask(asking, lambda _found: False)
        self.check_certain(answers)
        return answers

    async def ask_majority(self, asking: Callable[[Address], Awaitable[T]]) -> list[T]:
        """The answers of a majority; that there is no such thing is none.

        Raises: Unavailable, when there are too few.
        """
        answers = await self._ask(asking, lambda answers: len(answers.found) >= self._majority)
        return self._of_majority(answers)

    async def tell_all(self, telling: Callable[[Address], Awaitable[T]]) -> list[T]:
        """Let every node know something; what a majority answered is returned, and the others go on.

        Raises: Unavailable or OutOfSpace, when no majority took it; a minority may have.
        """
        # Every node gets it, also those that count as down: one that just came back must not miss it.
        answers = await self._gather(self._members.hosts, telling, self._majority, _WRITE_SECONDS, linger=True)
        return self._of_majority(answers)

    def check_certain(self, answers: Answers[T]) -> None:
        """Raises: Unavailable, when those who did not answer might know of something that was acknowledged."""
        if not self._is_certain(answers):
            raise self._too_few(answers.count, answers.failures)

    @property
    def _node_count(self) -> int:
        return len(self._members.hosts)

    @property
    def _majority(self) -> int:
        return self._node_count // 2 + 1

    async def _ask(
        self, asking: Callable[[Address], Awaitable[T]], will_do: Callable[[Answers[T]], bool]
    ) -> Answers[T]:
        healthy = self._members.healthy()
        answers = await self._gather(healthy, asking, self._majority, _READ_SECONDS, linger=False)
        if not will_do(answers):
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
    ) -> Answers[T]:
        """Ask `nodes` at once, until `enough` have answered or all have had their time.

        Args: linger, whether those that have not answered by then may finish, or are broken off.
        """
        answers: Answers[T] = Answers()
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

    def _is_certain(self, answers: Answers[T]) -> bool:
        """Whether a write that was acknowledged must be known to one of those who answered."""
        return answers.count >= max(1, self._node_count - self._majority + 1)

    def _of_majority(self, answers: Answers[T]) -> list[T]:
        if len(answers.found) < self._majority:
            raise self._too_few(len(answers.found), [*answers.failures, *answers.missing])
        return answers.found

    def _too_few(self, count: int, failures: Sequence[KrakenError]) -> KrakenError:
        """Why there were not enough answers; a full disk is worth its own name."""
        full = next((error for error in failures if isinstance(error, OutOfSpace)), None)
        if full is not None:
            return full
        reasons = "; ".join(map(str, failures)) or "no index node is configured"
        return Unavailable(f"only {count} of {self._node_count} index nodes answered: {reasons}")
