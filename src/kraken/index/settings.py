"""What tunes an index node."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from kraken.cluster.settings import ClusterSettings
from kraken.core.peers import Address
from kraken.core.settings import Unit, setting
from kraken.index.retention import RetentionRule
from kraken.observability.logs import LogSettings
from kraken.runtime.web import HttpSettings
from kraken.runtime.web_client import ClientSettings


@dataclass(frozen=True, slots=True)
class CollectionSettings:
    """Garbage collection at an index node."""

    every_seconds: float = setting(3600.0, unit=Unit.SECONDS, low=1, meaning="How often garbage is looked for.")
    grace_seconds: float = setting(
        24 * 3600.0,
        unit=Unit.SECONDS,
        low=1,
        meaning="What no manifest needs is garbage only after it has been so for this long. It must be longer than a "
        "push takes, and than the clocks of proxies and index nodes differ.",
    )
    untagged_manifests: bool = setting(
        False,
        meaning="Whether a manifest is garbage that no tag means and no index holds, unless it is about another "
        "manifest of its repository. Who pulls by digest alone must leave this off. Must be the same at every index "
        "node: one where it is off keeps them for all.",
    )
    forget_seconds: float = setting(
        30 * 24 * 3600.0,
        unit=Unit.SECONDS,
        low=1,
        meaning="How long it is remembered that something was removed. An index node that was away for longer than "
        "this must begin with an empty data directory.",
    )


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """An index node."""

    component: str = setting("index", meaning="Always index; a file for another component is refused.")
    name: str = setting(
        lambda: f"index-{socket.gethostname()}", meaning="How logs and metrics call it; unique in the cluster."
    )
    data: Path = setting(Path("/var/lib/kraken/index"), meaning="Where the database is kept.")
    http: HttpSettings = setting(
        lambda: HttpSettings(listen=Address("127.0.0.1", 5400)), meaning="Where proxies and agents ask."
    )
    client: ClientSettings = setting(ClientSettings, meaning="How it speaks to the other index nodes.")
    collection: CollectionSettings = setting(CollectionSettings, meaning="Garbage collection.")
    retention: tuple[RetentionRule, ...] = setting(
        (), meaning="Which tags are removed in time. Must be the same at every index node."
    )
    log: LogSettings = setting(LogSettings, meaning="What it logs.")
    cluster: ClusterSettings = setting(ClusterSettings, meaning="The other components.")
