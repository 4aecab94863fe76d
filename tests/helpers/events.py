"""Registry events, and what a webhook is sent of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from kraken.core.digest import Digest
from kraken.notifications.envelope import Action, RegistryEvent, RequestRecord, Source
from kraken.oci.manifests import OCI_MANIFEST
from kraken.oci.references import RepositoryName, Tag

REQUEST = RequestRecord("request-1", "10.0.0.7:40112", "https", "registry.example", "PUT", "docker/27")
SOURCE = Source("proxy-1:5000", "instance-1")
NOON = datetime(2025, 3, 1, 12, 0, 0, 250_000, UTC)


def an_event(number: int = 0, action: Action = Action.PUSH, repository: str = "team/app") -> RegistryEvent:
    """An event about a manifest, whose tag tells its number."""
    return RegistryEvent(
        action=action,
        repository=RepositoryName(repository),
        happened_at=NOON,
        request=REQUEST,
        digest=Digest.of(str(number).encode()),
        tag=Tag(f"t{number}"),
        media_type=OCI_MANIFEST,
        size=5,
        path=f"/v2/{repository}/manifests/t{number}",
        from_repository=RepositoryName("other/app") if action is Action.MOUNT else None,
    )


def numbers_in(body: bytes) -> list[int]:
    """The numbers of the events in an envelope."""
    return [int(event["target"]["tag"][1:]) for event in events_in(body)]


def events_in(body: bytes) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(body)["events"]
    return events
