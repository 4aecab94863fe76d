"""The plan of a cluster on one machine: who is in it, at which ports, with which settings.

A pure function of the flags, so that a cluster started again on its directory is the same cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kraken.cli.kinds import Kind
from kraken.config.schema import Key
from kraken.config.values import Text
from kraken.core.errors import BadConfig
from kraken.core.peers import Address

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of each component."""

    origins: int = 3
    trackers: int = 2
    indexes: int = 2
    proxies: int = 1
    agents: int = 3


@dataclass(frozen=True, slots=True)
class Member:
    """One component of the cluster. `peer` is where it meets other peers, where it is one."""

    kind: Kind
    name: str
    http: Address
    peer: Address | None
    data: Path


@dataclass(frozen=True, slots=True)
class Plan:
    """All members, in the order in which they start: what others need comes first."""

    members: tuple[Member, ...]

    def of(self, kind: Kind) -> list[Member]:
        return [member for member in self.members if member.kind is kind]

    @property
    def addresses(self) -> list[Address]:
        """Every address that must be free."""
        return [address for member in self.members for address in (member.http, member.peer) if address is not None]

    def settings_of(self, member: Member) -> dict[Key, Text]:
        """What the plan decides for a member; everything else is a matter of taste."""
        cluster = {"origins": Kind.ORIGIN, "trackers": Kind.TRACKER, "indexes": Kind.INDEX}
        settings: dict[Key, Text] = {
            ("component",): member.kind.value,
            ("name",): member.name,
            ("data",): str(member.data),
            ("http", "listen"): str(member.http),
            **{("cluster", key): tuple(str(of.http) for of in self.of(kind)) for key, kind in cluster.items()},
        }
        if member.peer is not None:
            settings["peer", "listen"] = str(member.peer)
        return settings


def plan(counts: Counts, base_port: int, data: Path) -> Plan:
    """A cluster around `base_port`: proxies first, the agents' registries next, then the rest.

    Raises: BadConfig, when the ports do not fit below 65536.
    """
    ports = _ports(base_port)
    sizes = {
        Kind.PROXY: counts.proxies,
        Kind.AGENT: counts.agents,
        Kind.ORIGIN: counts.origins,
        Kind.TRACKER: counts.trackers,
        Kind.INDEX: counts.indexes,
    }
    http = {(kind, number): next(ports) for kind, count in sizes.items() for number in range(1, count + 1)}
    peers = {key: next(ports) for key in http if key[0] in (Kind.ORIGIN, Kind.AGENT)}
    start_order = (Kind.INDEX, Kind.ORIGIN, Kind.TRACKER, Kind.PROXY, Kind.AGENT)
    members = [
        Member(kind, f"{kind}-{number}", http[kind, number], peers.get((kind, number)), data / f"{kind}-{number}")
        for kind in start_order
        for number in range(1, sizes[kind] + 1)
    ]
    return Plan(tuple(members))


def nested(values: Mapping[Key, Text]) -> dict[str, object]:
    """Settings as the tree that a YAML file holds."""
    tree: dict[str, object] = {}
    for key, text in values.items():
        branch = tree
        for part in key[:-1]:
            branch = branch.setdefault(part, {})  # type: ignore[assignment] # keys of a schema never clash
        branch[key[-1]] = list(text) if isinstance(text, tuple) else text
    return tree


def _ports(first: int) -> Iterator[Address]:
    for port in range(first, 65536):
        yield Address(LOOPBACK, port)
    raise BadConfig(f"a cluster from port {first} on needs ports above 65535; choose a lower --base-port")
