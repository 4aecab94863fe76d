"""What was worked out before, for the few places at which everybody asks the same.

A hit of `functools.lru_cache` costs three times a look into a dictionary, and so do the arguments of the call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Memo(dict[Key, Value]):
    """`memo[key]` is `compute(key)`, worked out once. With `limit` keys it is full, and begins anew.

    What `compute` raises is raised, and not kept.
    """

    def __init__(self, compute: Callable[[Key], Value], limit: int) -> None:
        super().__init__()
        self._compute = compute
        self._limit = limit

    def __missing__(self, key: Key) -> Value:
        value = self._compute(key)
        if len(self) >= self._limit:
            self.clear()
        self[key] = value
        return value
