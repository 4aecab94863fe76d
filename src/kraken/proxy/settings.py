"""What tunes a proxy."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kraken.cluster.settings import ClusterSettings
from kraken.core.peers import Address
from kraken.core.settings import Unit, setting
from kraken.notifications.settings import NotificationSettings
from kraken.observability.logs import LogSettings
from kraken.oci.manifests import CLIENT_MANIFEST_BYTES, MAX_MANIFEST_BYTES
from kraken.oci.mirroring import MirroringSettings
from kraken.oci.references import RepositoryName, Tag
from kraken.oci.tag_patterns import TagPattern
from kraken.runtime.web import HttpSettings
from kraken.runtime.web_client import ClientSettings


@dataclass(frozen=True, slots=True)
class PushSettings:
    """What is accepted from those who push."""

    sparse_indexes: bool = setting(
        False, meaning="Accept an index some of whose manifests were never pushed. Pulls of those will fail."
    )
    max_manifest_bytes: int = setting(
        CLIENT_MANIFEST_BYTES,
        unit=Unit.BYTES,
        low=CLIENT_MANIFEST_BYTES,
        high=MAX_MANIFEST_BYTES,
        meaning="A longer manifest is refused. Most clients read none above the default.",
    )
    deletes: bool = setting(True, meaning="Whether tags, manifests and blobs may be deleted through this proxy.")
    immutable_tags: tuple[TagPattern, ...] = setting(
        (),
        meaning="Tags that, once pushed, can neither be moved to another manifest nor deleted. Must be the same at "
        "every proxy. Retention rules are not bound by it.",
    )
    renew_seconds: float = setting(
        3600.0,
        unit=Unit.SECONDS,
        low=0,
        meaning="A blob that a client finds in a repository is safe from garbage collection from then on as if it had "
        "just been pushed; this is noted at most so often. Keep it far below collection.grace_seconds of the index.",
    )
    stall_seconds: float = setting(
        30.0,
        unit=Unit.SECONDS,
        low=0.1,
        meaning="An origin that takes no byte of an upload for this long has failed; the client is told to try again.",
    )

    def immutable(self, repository: RepositoryName, tags: Iterable[Tag]) -> Iterator[Tag]:
        """Those of the tags that must neither move nor be deleted."""
        return (tag for tag in tags if any(it.is_about(str(repository), str(tag)) for it in self.immutable_tags))


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """A proxy."""

    component: str = setting("proxy", meaning="Always proxy; a file for another component is refused.")
    name: str = setting(
        lambda: f"proxy-{socket.gethostname()}", meaning="How logs and metrics call it; unique in the cluster."
    )
    data: Path = setting(Path("/var/lib/kraken/proxy"), meaning="Where notifications wait; it keeps nothing else.")
    http: HttpSettings = setting(
        lambda: HttpSettings(listen=Address("127.0.0.1", 5000)), meaning="Where clients push and pull."
    )
    client: ClientSettings = setting(ClientSettings, meaning="How it speaks to origins and index nodes.")
    log: LogSettings = setting(LogSettings, meaning="What it logs.")
    cluster: ClusterSettings = setting(ClusterSettings, meaning="The other components.")
    push: PushSettings = setting(PushSettings, meaning="Pushes.")
    mirror: MirroringSettings = setting(MirroringSettings, meaning="Names of other registries.")
    notifications: NotificationSettings = setting(NotificationSettings, meaning="Webhooks that are told what happens.")
