"""Questions that many ask at once, and whose answers must not be older than the question."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class FreshAnswers(Generic[K, V]):
    """Asks each question at most once at a time, and never answers with what was asked before the caller came.

    While one is being asked, all who come share the one that is asked after it: so however many ask, there are two.
    """

    def __init__(self) -> None:
        self._asking: dict[K, asyncio.Task[V]] = {}
        self._next: dict[K, asyncio.Task[V]] = {}

    async def get(self, question: K, ask: Callable[[], Awaitable[V]]) -> V:
        """The answer of an `ask` that begins now or later. Raises: what it raises."""
        asking = self._asking.get(question)
        if asking is None:
            task = self._asking[question] = asyncio.ensure_future(self._ask(question, ask))
        else:
            waiting = self._next.get(question)
            if waiting is None:
                waiting = self._next[question] = asyncio.ensure_future(self._ask_after(asking, question, ask))
            task = waiting
        # Shielded: the first who asked may go away, and the others still wait for the same answer.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Break off what is being asked."""
        tasks = [*self._asking.values(), *self._next.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, question: K, ask: Callable[[], Awaitable[V]]) -> V:
        task = asyncio.current_task()
        try:
            return await ask()
        finally:
            if self._asking.get(question) is task:
                del self._asking[question]

    async def _ask_after(self, before: asyncio.Task[V], question: K, ask: Callable[[], Awaitable[V]]) -> V:
        task = asyncio.current_task()
        assert task is not None
        try:
            await asyncio.wait([before])
        finally:
            del self._next[question]
        self._asking[question] = task
        return await self._ask(question, ask)
