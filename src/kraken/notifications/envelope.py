"""What webhooks are told: one event for each thing that happened, in the form of Docker's registry.

Source: distribution, notifications/event.go, version 2 of the envelope. The order of the fields, and which are left out
when they are empty, are as there. Texts that a client sent are cut, and their undecodable bytes become `?`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import msgspec

from kraken.core.digest import Digest
from kraken.core.errors import Invalid
from kraken.oci.manifests import Descriptor
from kraken.oci.references import RepositoryName, Tag

MEDIA_TYPE = "application/vnd.docker.distribution.events.v2+json"

MAX_TEXT = 512
"""Characters of a text that came from a client."""

MAX_REFERENCES = 1000
"""A manifest that refers to more is told without any of them, lest one event be megabytes; a part would mislead."""


class Action(Enum):
    """What happened to the target."""

    PULL = "pull"
    PUSH = "push"
    MOUNT = "mount"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """The request that caused an event. `address` is the client's, `host` the name that it called the registry."""

    id: str
    address: str
    scheme: str
    host: str
    method: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class Source:
    """Who tells: the address of this process, and a name that is new at each start."""

    address: str
    instance: str


@dataclass(frozen=True, slots=True)
class RegistryEvent:
    """One thing that happened. `path` is where its target can be pulled; `actor` the user's name, if there is one."""

    action: Action
    repository: RepositoryName
    happened_at: datetime
    request: RequestRecord
    digest: Digest | None = None
    tag: Tag | None = None
    media_type: str = ""
    size: int = 0
    path: str = ""
    from_repository: RepositoryName | None = None
    references: tuple[Descriptor, ...] = ()
    actor: str = ""

    def __post_init__(self) -> None:
        if self.digest is None and (self.tag is None or self.action is not Action.DELETE):
            raise Invalid(f"a {self.action.value} needs a digest; only a delete may have a tag alone")
        if (self.from_repository is not None) != (self.action is Action.MOUNT):
            raise Invalid(f"a {self.action.value} from {self.from_repository}: that belongs to a mount, and only there")


def encode_event(event: RegistryEvent, event_id: str, source: Source) -> bytes:
    """An event as it will stand in its envelope."""
    return msgspec.json.encode(
        _Event(
            id=event_id,
            timestamp=event.happened_at,
            action=event.action.value,
            target=_deleted(event) if event.action is Action.DELETE else _target(event),
            request=_Request(
                id=_clean(event.request.id),
                addr=_clean(event.request.address),
                host=_clean(event.request.host),
                method=_clean(event.request.method),
                useragent=_clean(event.request.user_agent),
            ),
            actor=_Actor(name=_clean(event.actor)),
            source=_Source(addr=source.address, instance_id=source.instance),
        )
    )


def envelope(events: Sequence[bytes]) -> bytes:
    """The body of one POST. Args: events, each from `encode_event`."""
    return b'{"events":[' + b",".join(events) + b"]}"


class _Reference(msgspec.Struct, omit_defaults=True):
    media_type: str = msgspec.field(name="mediaType", default="")
    digest: str = ""
    size: int = 0


class _Target(msgspec.Struct, omit_defaults=True):
    media_type: str = msgspec.field(name="mediaType", default="")
    digest: str = ""
    size: int = 0
    length: int = 0
    repository: str = ""
    from_repository: str = msgspec.field(name="fromRepository", default="")
    url: str = ""
    tag: str = ""
    references: list[_Reference] = []


class _Request(msgspec.Struct, omit_defaults=True, kw_only=True):
    id: str
    addr: str = ""
    host: str = ""
    method: str
    useragent: str


class _Actor(msgspec.Struct, omit_defaults=True):
    name: str = ""


class _Source(msgspec.Struct, omit_defaults=True):
    addr: str = ""
    instance_id: str = msgspec.field(name="instanceID", default="")


class _Event(msgspec.Struct):
    id: str
    timestamp: datetime
    action: str
    target: _Target
    request: _Request
    actor: _Actor
    source: _Source


def _target(event: RegistryEvent) -> _Target:
    told = event.references if len(event.references) <= MAX_REFERENCES else ()
    return _Target(
        media_type=_clean(event.media_type),
        digest=str(event.digest),
        size=event.size,
        length=event.size,
        repository=str(event.repository),
        from_repository="" if event.from_repository is None else str(event.from_repository),
        url=_clean(f"{event.request.scheme}://{event.request.host}") + event.path if event.path else "",
        tag="" if event.tag is None else str(event.tag),
        references=[_Reference(_clean(it.media_type), str(it.digest), it.size) for it in told],
    )


def _deleted(event: RegistryEvent) -> _Target:
    """A target that is gone: what it was called, and nothing else."""
    return _Target(
        digest="" if event.digest is None else str(event.digest),
        repository=str(event.repository),
        tag="" if event.tag is None else str(event.tag),
    )


def _clean(text: str) -> str:
    return text[:MAX_TEXT].encode(errors="replace").decode()
