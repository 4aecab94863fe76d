"""Which events an endpoint wants."""

from __future__ import annotations

import re

from kraken.notifications.envelope import RegistryEvent
from kraken.notifications.settings import EndpointSettings


class Filter:
    """The ignore lists of an endpoint."""

    def __init__(self, endpoint: EndpointSettings) -> None:
        self._actions = frozenset(endpoint.ignore_actions)
        self._media_types = frozenset(endpoint.ignore_media_types)
        self._repositories = [re.compile(pattern) for pattern in endpoint.ignore_repositories]

    def wants(self, event: RegistryEvent) -> bool:
        return (
            event.action not in self._actions
            and event.media_type not in self._media_types
            and not any(pattern.fullmatch(str(event.repository)) for pattern in self._repositories)
        )
