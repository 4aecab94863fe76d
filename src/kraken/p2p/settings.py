"""Settings of the peer port and of the swarm policy, each with the reason for its default.

The figures come from a discrete-event simulation of 1,000 to 15,000 hosts with 1 GB/s links and a
1 GiB blob; fractions are of line rate, p50/p99.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from kraken.core.errors import Invalid
from kraken.core.peers import Address
from kraken.core.pieces import MIB
from kraken.core.settings import Unit, setting


class TlsMode(Enum):
    """Whether connections of peers are encrypted."""

    OFF = "off"
    OPTIONAL = "optional"
    """Both are accepted; TLS is dialled first, and then plain, if the other side does not speak it."""
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """The peer port of a node, and what it may cost."""

    listen: Address = setting(Address("127.0.0.1", 0), meaning="Where other peers connect. Port 0 takes any free port.")
    max_connections: int = setting(
        1024,
        low=1,
        high=16384,
        meaning="Peer connections at once, over all swarms. Beyond it one is closed on which nothing is under way, of "
        "swarms that nobody here waits for first; without such a one the newcomer is refused.",
    )
    max_seeded: int = setting(
        1024,
        low=1,
        high=16384,
        meaning="Blobs that are open only because peers are connected. One more closes that on which nothing has moved "
        "for longest; it is opened again when a peer comes. As many as connections: a swarm has one at the least.",
    )
    handshake_seconds: float = setting(
        5.0, unit=Unit.SECONDS, low=0.1, high=60, meaning="A connection that has not shaken hands by then is closed."
    )
    idle_seconds: float = setting(
        120.0, unit=Unit.SECONDS, low=1, meaning="A connection on which nothing moved for this long is closed."
    )
    stall_seconds: float = setting(
        20.0,
        unit=Unit.SECONDS,
        low=1,
        meaning="A peer that takes no byte of a piece being sent to it for this long loses slot and link.",
    )
    congestion_control: str = setting(
        "cubic",
        meaning="TCP congestion control of peer connections, where the kernel has it; empty for the system's own. "
        "Pacing, as bbr does it, costs a sender 0.1 to 0.2 CPU s/GB and gains nothing within a data centre.",
    )
    upload_slots: int = setting(
        32,
        low=4,
        high=1024,
        meaning="Pieces sent at once, over all swarms; a swarm by itself has at most `swarm.upload_slots` of them. Four"
        " busy swarms fill it, and each piece still gets a thirty-second of the link: 1 MiB at 1 GB/s takes 34 ms. An "
        "eighth is kept for small blobs.",
    )
    small_bytes: int = setting(
        1 * MIB,
        unit=Unit.BYTES,
        low=0,
        meaning="A blob of at most this size waits for no larger one: manifests and configurations, which hold up "
        "whole pulls. The four pieces of such a blob take a receiver of 1 Gbit/s 8 ms.",
    )
    buffer_bytes: int = setting(
        64 * MIB,
        unit=Unit.BYTES,
        low=16 * MIB,
        meaning="Memory for pieces on their way from the network to the disk. When it is used up, reading pauses. "
        "Swarms that fetch at the same time ask for no more than this together, so that what comes finds room.",
    )
    ban_seconds: float = setting(
        600.0, unit=Unit.SECONDS, low=0, meaning="A peer that was proven to send bad pieces is shut out for this long."
    )
    tls: TlsMode = setting(
        TlsMode.OFF,
        meaning="TLS 1.3 with other peers, by certificates of both sides. With optional a peer that speaks none is "
        "still talked to, with required nothing goes plain. Read again on SIGHUP, like the three files; see "
        "docs/peer-tls.md.",
    )
    tls_cert_file: Path | None = setting(
        None, meaning="This node's certificate, in PEM, with those between it and the authority behind it."
    )
    tls_key_file: Path | None = setting(None, meaning="The key of that certificate, in PEM, without a passphrase.")
    tls_ca_file: Path | None = setting(
        None, meaning="Certificates of the authorities, in PEM, one of which must have signed every peer's certificate."
    )

    def __post_init__(self) -> None:
        files = {
            "tls_cert_file": self.tls_cert_file,
            "tls_key_file": self.tls_key_file,
            "tls_ca_file": self.tls_ca_file,
        }
        missing = [name for name, path in files.items() if path is None]
        if self.tls is not TlsMode.OFF and missing:
            raise Invalid(f"tls is {self.tls.value}, which needs {', '.join(missing)}; see docs/peer-tls.md")

    @property
    def at_the_door(self) -> int:
        """Handshakes that may run beyond `max_connections`: which swarm a newcomer is for, only its handshake tells."""
        return max(1, self.max_connections // 16)

    @property
    def descriptors(self) -> int:
        """Files and sockets that the peer port may have open: a partial blob has two files."""
        return self.max_connections + self.at_the_door + 2 * self.max_seeded


@dataclass(frozen=True, slots=True)
class SwarmSettings:
    """The policy of one swarm."""

    dial: int = setting(
        8,
        low=1,
        high=64,
        meaning="Connections that a node opens by itself. Degree 6 to 20 all reach 0.97 of line rate.",
    )
    accept: int = setting(
        24,
        low=1,
        high=256,
        meaning="Connections in all, in one swarm; a further peer is refused and tries the next. Every host dials 8, "
        "so it has 16 on average; with 16 for a limit the first hosts of a crowd are full of each other, and 1,000 "
        "hosts that arrive within 0.2 s reach 0.84 instead of 0.98.",
    )
    few_peers: int = setting(
        5, low=0, high=64, meaning="With fewer connections than this a downloading node asks the tracker again early."
    )
    requests_per_peer: int = setting(
        2,
        low=1,
        high=16,
        meaning="Pieces asked of one peer at once; one more while more requests wait at most peers than they have "
        "slots. 2 and 4 are equal once the total is capped.",
    )
    requests_total: int = setting(
        16,
        low=1,
        high=256,
        meaning="Pieces asked of all agents at once; in proportion more by a host with more than twice `dial` "
        "connections, and up to half as many more by one that does not get ahead of its neighbours. Without a cap p99 "
        "falls from 0.95 to 0.78, for an early host parks dozens of pieces behind the few peers it knows; with one "
        "cap for all, to 0.85.",
    )
    upload_slots: int = setting(
        8,
        low=1,
        high=64,
        meaning="Pieces sent at once: first come first served, but newcomers go first, and while little is to be had "
        "what few have. Of a blob of few pieces four. One slot gives 0.57, 6 to 8 give 0.97.",
    )
    queued_per_peer: int = setting(
        3,
        low=1,
        high=64,
        meaning="Requests held for one peer; a further one is rejected at once, so that it asks elsewhere.",
    )
    have_batch_seconds: float = setting(
        0.002,
        unit=Unit.SECONDS,
        low=0,
        high=1,
        meaning="HAVEs are gathered for this long at the least. Up to 5 ms is nearly free. Where pieces come 20 ms "
        "apart or more, they are gathered for as long as four of them take, but for half a second at most.",
    )
    reader_window: int = setting(
        208,
        low=1,
        high=4096,
        meaning="Pieces ahead of a reader that come before all others, at most a quarter of the blob. In a crowd the "
        "rarest of those soon due is taken, never simply the next one, which all would ask of the origins. Where a "
        "tracker tells that more than 244 peers fetch the blob they are more in proportion, at most a third of it. See "
        "decision 16.",
    )
    timeout_floor_seconds: float = setting(
        0.3,
        unit=Unit.SECONDS,
        low=0.05,
        high=60,
        meaning="A request is late at the earliest after this; its piece may then be asked once more elsewhere.",
    )
    timeout_factor: float = setting(
        4.0, low=1, high=100, meaning="A request is late after this many times the median request-to-piece time."
    )
    silent_seconds: float = setting(
        15.0, unit=Unit.SECONDS, low=1, meaning="A peer that owes a piece and sends no byte for this long is dropped."
    )
    linger_seconds: float = setting(
        30.0, unit=Unit.SECONDS, low=0, meaning="A swarm without any connection is kept in memory for this long."
    )
