"""How often Python looks for objects that only refer to each other."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_NEW_OBJECTS = 10_000
_YOUNGER_ROUNDS = 20


def collect_garbage_seldom() -> None:
    """Let this process look for cycles after 10,000 new objects instead of 700, and at the old ones as seldom.

    For a process that gets very many connections at once: they live, so that to look at them finds nothing, and costs a
    tenth of the CPU time of a crowd that joins, in pauses of 60 ms and more.
    """
    gc.set_threshold(_NEW_OBJECTS, _YOUNGER_ROUNDS, _YOUNGER_ROUNDS)


def without_collector(work: Callable[[], T]) -> T:
    """What `work` returns. Nobody looks for cycles meanwhile, but once afterwards.

    For work that makes few of them among millions of objects that live, as a simulation does.
    """
    gc.disable()
    try:
        return work()
    finally:
        gc.enable()
        gc.collect()
