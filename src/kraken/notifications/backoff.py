"""How long to wait before an endpoint in trouble is tried again."""

from __future__ import annotations

import random

from kraken.notifications.settings import EndpointSettings

_MOST_DOUBLINGS = 60
"""By then any pause has reached any cap; more of them would leave the range of a float in the end."""


def pause_seconds(endpoint: EndpointSettings, chance: random.Random, failures: int) -> float:
    """The pause after so many failures in a row; chance spreads those who failed together.

    Args: failures, 1 or more.
    """
    doublings = min(max(0, failures - endpoint.threshold), _MOST_DOUBLINGS)
    longest: float = min(endpoint.max_backoff_seconds, endpoint.backoff_seconds * 2.0**doublings)
    return longest * chance.uniform(0.5, 1.0)
