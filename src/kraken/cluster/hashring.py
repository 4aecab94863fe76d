"""Rendezvous hashing: who owns a key, agreed on by everybody who knows the same hosts.

Each host gets a score from the key and its own address; the highest score comes first. When a host
leaves, only the keys that it owned move, each to the host that was next for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from kraken.core.errors import Invalid
from kraken.core.peers import Address


def rank(key: str, hosts: Iterable[Address]) -> list[Address]:
    """All hosts, in the order in which they are asked for `key`."""
    return sorted(hosts, key=lambda host: (_score(key, host), host), reverse=True)


@dataclass(frozen=True, slots=True)
class Ring:
    """The hosts of one kind, and how many of them own a key."""

    hosts: tuple[Address, ...]
    replicas: int

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise Invalid(f"{self.replicas} replicas: a key needs at least one owner")

    def ranked(self, key: str) -> list[Address]:
        """All hosts, the owners of `key` first."""
        return rank(key, self.hosts)

    def owners(self, key: str) -> list[Address]:
        """The hosts that must hold `key`: as many as there are replicas, or all when they are fewer."""
        return self.ranked(key)[: self.replicas]


def _score(key: str, host: Address) -> bytes:
    return blake2b(f"{host}\n{key}".encode(), digest_size=8).digest()
