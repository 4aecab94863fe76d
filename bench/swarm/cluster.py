"""The cluster of a run: agents and origins on hosts of their own, the rest at the bridge; and what they count."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from bench.swarm.namespaces import HUB_ADDRESS, LanHost, Namespace
from kraken.cli.children import Child
from kraken.cli.cluster import wait_until_ready, write_configs
from kraken.cli.kinds import Kind
from kraken.cli.layout import Member, Plan
from kraken.config.schema import Key
from kraken.config.values import Text
from kraken.core.peers import Address

_AT_THE_BRIDGE = {Kind.INDEX: 5001, Kind.TRACKER: 5002, Kind.PROXY: 5003}
_HTTP_PORT, _PEER_PORT = 5000, 6000
_SCRAPES_AT_ONCE = 8
_STARTED_AT_ONCE = 8  # fifty that start together would take each other's time to answer


class PlacedChild(Child):
    """A component as a process on one of the hosts."""

    def __init__(self, member: Member, config: Path, environ: dict[str, str], place: Namespace) -> None:
        super().__init__(member, config, environ)
        self._place = place

    async def start(self) -> None:
        with self._place.entered():
            await super().start()


@dataclass(frozen=True, slots=True)
class Sited:
    """An agent or origin, and the host that it is on."""

    child: Child
    host: LanHost


@dataclass(frozen=True, slots=True)
class Cluster:
    """What runs."""

    agents: list[Sited]
    origins: list[Sited]
    proxy: Address


@asynccontextmanager
async def cluster(hosts: Sequence[LanHost], origins: int, folder: Path) -> AsyncIterator[Cluster]:
    """A cluster that is ready, until the block ends; origins are on the last hosts.

    Raises: BadConfig, when a component ends instead of starting; TimeoutError, when one is not ready in time.
    """
    agents = len(hosts) - origins
    members = [
        Member(kind, f"{kind}-1", Address(HUB_ADDRESS, port), None, folder / kind)
        for kind, port in _AT_THE_BRIDGE.items()
    ]
    members += [_peer(Kind.ORIGIN, number, host, folder) for number, host in enumerate(hosts[agents:], 1)]
    members += [_peer(Kind.AGENT, number, host, folder) for number, host in enumerate(hosts[:agents], 1)]
    files = write_configs(Plan(tuple(members)), _wishes(origins), folder)
    environ = {name: text for name, text in os.environ.items() if not name.startswith("KRAKEN_")}
    sites = {host.address: host for host in hosts}
    children: list[Child] = []
    for member in members:
        site = sites.get(member.http.host)
        config = files[member.name]
        children.append(
            Child(member, config, environ) if site is None else PlacedChild(member, config, environ, site.namespace)
        )
    try:
        for at in range(0, len(children), _STARTED_AT_ONCE):
            batch = children[at : at + _STARTED_AT_ONCE]
            for child in batch:
                await child.start()
            await asyncio.gather(*(child.answer() for child in batch))
        if unready := await wait_until_ready(members):
            raise TimeoutError(f"not ready: {unready}")
        sited = {
            kind: [Sited(each, sites[each.http.host]) for each in children if each.kind == kind]
            for kind in (Kind.AGENT, Kind.ORIGIN)
        }
        proxy = next(member.http for member in members if member.kind is Kind.PROXY)
        yield Cluster(sited[Kind.AGENT], sited[Kind.ORIGIN], proxy)
    finally:
        await asyncio.gather(*(child.stop() for child in children))


class Samples:
    """The metrics of one component at one moment."""

    def __init__(self, text: str) -> None:
        self._samples = [each for family in text_string_to_metric_families(text) for each in family.samples]

    def total(self, name: str, /, **labels: str) -> float:
        """A sample, summed over the labels that are not named; 0.0 when there is none."""
        return sum(each.value for each in self._samples if each.name == name and labels.items() <= each.labels.items())


async def samples(addresses: Sequence[Address]) -> Mapping[Address, Samples]:
    """The metrics of these components now. Raises: aiohttp.ClientError."""
    turns = asyncio.Semaphore(_SCRAPES_AT_ONCE)
    async with aiohttp.ClientSession() as session:

        async def of(address: Address) -> Samples:
            async with turns, session.get(f"http://{address}/metrics") as answer:
                answer.raise_for_status()
                return Samples(await answer.text())

        return dict(zip(addresses, await asyncio.gather(*map(of, addresses)), strict=True))


def _wishes(origins: int) -> dict[Kind, dict[Key, Text]]:
    """Settings of all: no push ends before every origin has the blob, or copies would still be made amid the pull."""
    everybody: dict[Key, Text] = {("log", "level"): "error", ("cluster", "replicas"): str(origins)}
    return {kind: dict(everybody) for kind in Kind} | {Kind.ORIGIN: everybody | {("write_quorum",): str(origins)}}


def _peer(kind: Kind, number: int, host: LanHost, folder: Path) -> Member:
    name = f"{kind}-{number}"
    return Member(kind, name, Address(host.address, _HTTP_PORT), Address(host.address, _PEER_PORT), folder / name)
