"""What tunes an agent."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from kraken.cluster.settings import ClusterSettings
from kraken.core.peers import Address
from kraken.core.settings import Unit, setting
from kraken.observability.logs import LogSettings
from kraken.oci.mirroring import MirroringSettings
from kraken.p2p.settings import PeerSettings, SwarmSettings
from kraken.runtime.bandwidth import BandwidthSettings
from kraken.runtime.web import HttpSettings
from kraken.runtime.web_client import ClientSettings
from kraken.storage.eviction import CacheSettings
from kraken.storage.hashing import Verify


@dataclass(frozen=True, slots=True)
class DownloadSettings:
    """How long a download may stand still, and what becomes of one that nobody waits for."""

    stall_seconds: float = setting(
        30.0,
        unit=Unit.SECONDS,
        low=0.1,
        meaning="A download that gets no byte for this long fails, so that the runtime can go elsewhere.",
    )
    verify: Verify = setting(
        Verify.BLOB,
        meaning="What of a blob is checked before its last bytes are given away: its digest, or the BLAKE3 hash of "
        "each piece alone. That saves the SHA-256 of every byte, and believes origins and trackers that the "
        "hashes they tell are those of the blob.",
    )
    prefetch: bool = setting(
        False,
        meaning="When a client takes the manifest of an image, fetch config and layers at once, before they are asked "
        "for, behind whatever clients wait for. It helps runtimes that ask for few layers at a time, and costs the "
        "bytes of layers that a runtime has already, or never wants.",
    )
    finish_fraction: float = setting(
        0.5,
        unit=Unit.FRACTION,
        low=0,
        high=1,
        meaning="When the last client goes away, a download that has at least this part is finished all the same; "
        "one that has less stops, and what it has is kept.",
    )


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """An agent."""

    component: str = setting("agent", meaning="Always agent; a file for another component is refused.")
    name: str = setting(
        lambda: f"agent-{socket.gethostname()}", meaning="How logs and metrics call it; unique in the cluster."
    )
    data: Path = setting(Path("/var/lib/kraken/agent"), meaning="Where blobs are cached.")
    zone: str = setting(
        "",
        meaning="The part of the network that this host is in, such as an availability zone; may be empty. Peers of "
        "the same zone are preferred, and what they hold is not fetched from other zones.",
    )
    announce_host: str | None = setting(
        None,
        meaning="Where other agents reach this host, for trackers that are told to trust it. By default they take the "
        "address that the announce comes from.",
    )
    confirm_seconds: float = setting(
        60.0,
        unit=Unit.SECONDS,
        low=0,
        meaning="How long it counts that the index said what a repository has: so much later at the latest, a deleted "
        "manifest or blob is unknown here too. A tag is asked of the index at each pull.",
    )
    mirror: MirroringSettings = setting(MirroringSettings, meaning="Names of other registries.")
    bandwidth: BandwidthSettings = setting(BandwidthSettings, meaning="Limits of what it moves.")
    http: HttpSettings = setting(
        lambda: HttpSettings(listen=Address("127.0.0.1", 5000)), meaning="The registry that the runtime pulls from."
    )
    client: ClientSettings = setting(ClientSettings, meaning="How it speaks to trackers and index nodes.")
    peer: PeerSettings = setting(PeerSettings, meaning="The peer port.")
    swarm: SwarmSettings = setting(SwarmSettings, meaning="The swarm policy.")
    cache: CacheSettings = setting(CacheSettings, meaning="How much is kept.")
    download: DownloadSettings = setting(DownloadSettings, meaning="Downloads.")
    log: LogSettings = setting(LogSettings, meaning="What it logs.")
    cluster: ClusterSettings = setting(ClusterSettings, meaning="The other components.")
