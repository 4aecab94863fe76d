"""Small immutable values that are made by the million: what happens, and what is ordered."""

from __future__ import annotations

import msgspec


class Value(msgspec.Struct, frozen=True, gc=False):
    """Equal when its type and its fields are. It must hold nothing that could hold it in turn.

    It takes 0.04 us to make one, where a frozen dataclass takes 0.3 (three fields): a piece of a swarm makes a dozen.
    """
