"""What tunes a proxy."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from kraken.cluster.settings import ClusterSettings
from kraken.core.peers import Address
from kraken.core.settings import Unit, setting
from kraken.observability.logs import LogSettings
from kraken.runtime.web import HttpSettings
from kraken.runtime.web_client import ClientSettings


@dataclass(frozen=True, slots=True)
class PushSettings:
    """What is accepted from those who push."""

    sparse_indexes: bool = setting(
        False, meaning="Accept an index some of whose manifests were never pushed. Pulls of those will fail."
    )
    stall_seconds: float = setting(
        30.0,
        unit=Unit.SECONDS,
        low=0.1,
        meaning="An origin that takes no byte of an upload for this long has failed; the client is told to try again.",
    )


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """A proxy."""

    component: str = setting("proxy", meaning="Always proxy; a file for another component is refused.")
    name: str = setting(
        lambda: f"proxy-{socket.gethostname()}", meaning="How logs and metrics call it; unique in the cluster."
    )
    data: Path = setting(Path("/var/lib/kraken/proxy"), meaning="Not used: a proxy keeps nothing.")
    http: HttpSettings = setting(
        lambda: HttpSettings(listen=Address("127.0.0.1", 5000)), meaning="Where clients push and pull."
    )
    client: ClientSettings = setting(ClientSettings, meaning="How it speaks to origins and index nodes.")
    log: LogSettings = setting(LogSettings, meaning="What it logs.")
    cluster: ClusterSettings = setting(ClusterSettings, meaning="The other components.")
    push: PushSettings = setting(PushSettings, meaning="Pushes.")
