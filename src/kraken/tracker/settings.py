"""What tunes a tracker."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from kraken.cluster.settings import ClusterSettings
from kraken.core.peers import Address
from kraken.core.pieces import KIB, MIB
from kraken.core.settings import Unit, setting
from kraken.observability.logs import LogSettings
from kraken.runtime.web import HttpSettings
from kraken.runtime.web_client import ClientSettings


@dataclass(frozen=True, slots=True)
class AnnounceSettings:
    """The policy of the hand-out, and its limits.

    Figures are of a simulation with 1,000 to 15,000 hosts: fractions of line rate, p50/p99.
    """

    peers: int = setting(
        20, low=1, high=180, meaning="Peers handed out for one swarm, random ones. Fewer make a thin graph, more cost."
    )
    origins: int = setting(2, low=0, high=20, meaning="Origins handed out beside them, as seeders of last resort.")
    crossing: int = setting(
        2,
        low=0,
        high=180,
        meaning="Of those so many are of another zone than the one that asks, as long as its own has enough. With none "
        "a zone without an origin gets only what origins send it.",
    )
    interval_seconds: float = setting(
        10.0, unit=Unit.SECONDS, low=0.1, high=3600, meaning="A peer is to announce again after this, at the earliest."
    )
    peers_per_interval_second: float = setting(
        1000.0,
        low=1,
        meaning="The interval grows with the swarm: one second for this many peers. So a tracker's load has a limit.",
    )
    missed_intervals: float = setting(
        3.0, low=1, high=100, meaning="A peer that missed this many intervals is forgotten."
    )
    young_seconds: float = setting(
        1.0, unit=Unit.SECONDS, low=0, high=60, meaning="So long a swarm counts as young, and its announces are held."
    )
    hold_seconds: float = setting(
        0.001,
        unit=Unit.SECONDS,
        low=0,
        high=1,
        meaning="Announces to a young swarm are answered together after this long, so that hosts that begin at the "
        "same instant hear of each other. 1 ms gives 0.962/0.946, 5 ms 0.958/0.943, and a small blob comes 4 ms later.",
    )
    max_swarms: int = setting(200_000, low=1, meaning="Swarms known at once. A further one is answered, but not kept.")
    max_peers: int = setting(
        2_000_000, low=1, meaning="Peers in all swarms together. A further one is answered, but not kept."
    )
    trust_announced_host: bool = setting(
        False,
        meaning="Take a peer's host from its announce instead of its connection. Only for networks in which the two "
        "differ for a reason, such as address translation, and every peer is trusted.",
    )


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """The cache of metainfo that a tracker relays from the origins."""

    cache_bytes: int = setting(
        64 * MIB, unit=Unit.BYTES, low=64 * KIB, meaning="Memory for metainfo, the longest unused goes first."
    )


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """A tracker."""

    component: str = setting("tracker", meaning="Always tracker; a file for another component is refused.")
    name: str = setting(
        lambda: f"tracker-{socket.gethostname()}", meaning="How logs and metrics call it; unique in the cluster."
    )
    data: Path = setting(Path("/var/lib/kraken/tracker"), meaning="Not used: a tracker keeps everything in memory.")
    http: HttpSettings = setting(
        lambda: HttpSettings(listen=Address("127.0.0.1", 5300), max_connections=32768),
        meaning="Where agents and origins announce.",
    )
    client: ClientSettings = setting(ClientSettings, meaning="How it speaks to the origins.")
    log: LogSettings = setting(LogSettings, meaning="What it logs.")
    cluster: ClusterSettings = setting(ClusterSettings, meaning="The other components.")
    announce: AnnounceSettings = setting(AnnounceSettings, meaning="The hand-out of peers.")
    relay: RelaySettings = setting(RelaySettings, meaning="Metainfo.")
