"""What tunes an index node."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from kraken.cluster.settings import ClusterSettings
from kraken.core.peers import Address
from kraken.core.settings import setting
from kraken.observability.logs import LogSettings
from kraken.runtime.web import HttpSettings


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
    log: LogSettings = setting(LogSettings, meaning="What it logs.")
    cluster: ClusterSettings = setting(ClusterSettings, meaning="The other components.")
