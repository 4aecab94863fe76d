"""What tunes an origin."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from kraken.cluster.settings import ClusterSettings
from kraken.core.peers import Address
from kraken.core.settings import Unit, setting
from kraken.observability.logs import LogSettings
from kraken.p2p.settings import PeerSettings, SwarmSettings
from kraken.runtime.bandwidth import BandwidthSettings
from kraken.runtime.web import HttpSettings
from kraken.runtime.web_client import ClientSettings
from kraken.upstream.settings import MirrorSettings


@dataclass(frozen=True, slots=True)
class CollectionSettings:
    """Garbage collection at an origin: what no repository has any more is removed."""

    every_seconds: float = setting(3600.0, unit=Unit.SECONDS, low=1, meaning="How often garbage is looked for.")
    grace_seconds: float = setting(
        24 * 3600.0,
        unit=Unit.SECONDS,
        low=1,
        meaning="A blob that was uploaded or read within this time stays. It must be longer than a push takes.",
    )
    second_look_seconds: float = setting(
        60.0,
        unit=Unit.SECONDS,
        low=0,
        meaning="A blob goes when two looks at the index, so far apart, found that no repository has it. It must be "
        "longer than a manifest takes from its check to its place in the index.",
    )


@dataclass(frozen=True, slots=True)
class OriginSettings:
    """An origin."""

    component: str = setting("origin", meaning="Always origin; a file for another component is refused.")
    name: str = setting(
        lambda: f"origin-{socket.gethostname()}", meaning="How logs and metrics call it; unique in the cluster."
    )
    data: Path = setting(Path("/var/lib/kraken/origin"), meaning="Where blobs and unfinished uploads are kept.")
    address: Address | None = setting(
        None,
        meaning="Which entry of cluster.origins is this origin. Needed where http.listen is not that very address, "
        "such as 0.0.0.0.",
    )
    zone: str = setting(
        "",
        meaning="The part of the network that it is in, as peers are told; may be empty. Agents of the same zone "
        "ask it before they ask agents of other zones.",
    )
    write_quorum: int = setting(
        2,
        low=1,
        high=100,
        meaning="A push is acknowledged when so many owners of the blob hold it durably, or all when there are fewer.",
    )
    upload_expiry_seconds: float = setting(
        24 * 3600.0, unit=Unit.SECONDS, low=1, meaning="An upload session that got no byte for this long is dropped."
    )
    replica_stall_seconds: float = setting(
        60.0, unit=Unit.SECONDS, low=1, meaning="A copy to another origin that moves no byte for this long has failed."
    )
    mirror: MirrorSettings = setting(MirrorSettings, meaning="Other registries that it reads from for everybody.")
    collection: CollectionSettings = setting(CollectionSettings, meaning="Garbage collection.")
    bandwidth: BandwidthSettings = setting(BandwidthSettings, meaning="Limits of what it moves.")
    http: HttpSettings = setting(
        lambda: HttpSettings(listen=Address("127.0.0.1", 5200)), meaning="Where proxies, trackers and origins ask."
    )
    client: ClientSettings = setting(ClientSettings, meaning="How it speaks to the other components.")
    peer: PeerSettings = setting(PeerSettings, meaning="The peer port.")
    swarm: SwarmSettings = setting(SwarmSettings, meaning="The swarm policy.")
    log: LogSettings = setting(LogSettings, meaning="What it logs.")
    cluster: ClusterSettings = setting(ClusterSettings, meaning="The other components.")
