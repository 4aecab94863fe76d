"""Who is out there: addresses, peer ids, roles."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import NewType

from kraken.core.errors import Invalid

PeerId = NewType("PeerId", bytes)  # 20 bytes, new at each start of a node

PEER_ID_BYTES = 20
PEER_ID_PREFIX = b"-KR0100-"
"""Azureus style (BEP 20): KR, version 0.1.0.0; then 12 random bytes."""

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]")


class Role(Enum):
    """What a peer is for a swarm: origins seed as a last resort, agents exchange."""

    AGENT = "agent"
    ORIGIN = "origin"


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """`host:port` of a listener. The host is a name, an IPv4 address or a bracketed IPv6 one."""

    host: str
    port: int

    def __post_init__(self) -> None:
        if not _HOST.fullmatch(self.host):
            raise Invalid(f"{self.host[:80]!r} is not a host name or address")
        if not 0 <= self.port <= 65535:
            raise Invalid(f"port {self.port} is not within 0 and 65535")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def bare_host(self) -> str:
        """The host as sockets want it: without the brackets of an IPv6 address."""
        return self.host.strip("[]")

    @classmethod
    def parse(cls, text: str) -> Address:
        """Admit `host:port` from a setting or a message.

        Raises: Invalid, when either part is missing or malformed.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or len(port) > 5:
            raise Invalid(f"{text[:80]!r} is not host:port")
        return cls(host, int(port))


def peer_id(random_bytes: bytes) -> PeerId:
    """A peer id around 12 random bytes."""
    if len(random_bytes) != PEER_ID_BYTES - len(PEER_ID_PREFIX):
        raise Invalid(f"a peer id wants 12 random bytes, not {len(random_bytes)}")
    return PeerId(PEER_ID_PREFIX + random_bytes)
