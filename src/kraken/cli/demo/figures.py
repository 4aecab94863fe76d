"""The figures of a demo: what the components say about themselves on /metrics, and what follows from it."""

from __future__ import annotations

import asyncio
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiohttp

from kraken.core.peers import Address

_SAMPLE = re.compile(r"(kraken_\w+)(?:\{(.*)\})? (\S+)")


@dataclass(frozen=True, slots=True)
class Samples:
    """One reading of a component's /metrics."""

    values: Mapping[tuple[str, str], float]

    def total(self, family: str, *labels: str) -> float:
        """The sum of a family's samples that carry all `labels`, each written `name="value"`."""
        return sum(
            value
            for (name, text), value in self.values.items()
            if name == family and all(label in text for label in labels)
        )


@dataclass(slots=True)
class AgentFigures:
    """How one agent's pull went, or goes. Bytes come from peers and origins as its metrics tell."""

    name: str
    total: int
    received: int = 0
    from_peers: int = 0
    from_origins: int = 0
    seconds: float = 0.0
    error: str = ""
    done: bool = False

    @property
    def progress(self) -> int:
        """Bytes that the agent has: pieces arrive in any order, so they are ahead of what the client could get."""
        return max(self.received, min(self.from_peers + self.from_origins, self.total))

    @property
    def rate(self) -> float:
        """Bytes a second, so far or over all."""
        return self.progress / self.seconds if self.seconds else 0.0

    @property
    def eta(self) -> float | None:
        """Seconds to go at this rate; None while nothing has come."""
        return (self.total - self.progress) / self.rate if self.rate else None

    @property
    def peer_share(self) -> float:
        fetched = self.from_peers + self.from_origins
        return self.from_peers / fetched if fetched else 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a demo; its keys are those of the JSON line."""

    ok: bool
    image_bytes: int
    agents: int
    seconds_p50: float
    seconds_max: float
    peer_byte_share: float
    origin_copies: float
    backend_reads: int


def parse_samples(text: str) -> Samples:
    """Admit a page of /metrics; lines that are no samples of ours are passed over."""
    values: dict[tuple[str, str], float] = {}
    for line in text.splitlines():
        match = _SAMPLE.fullmatch(line)
        if match:
            values[match[1], match[2] or ""] = float(match[3])
    return Samples(values)


async def read_samples(session: aiohttp.ClientSession, addresses: Sequence[Address]) -> list[Samples]:
    """The metrics of several components, read at the same time."""
    return list(await asyncio.gather(*(_read_one(session, address) for address in addresses)))


def note_sources(agent: AgentFigures, samples: Samples) -> None:
    """Take over where an agent's bytes came from."""
    incoming = 'direction="in"'
    agent.from_peers = int(samples.total("kraken_p2p_bytes_total", incoming, 'role="agent"'))
    agent.from_origins = int(samples.total("kraken_p2p_bytes_total", incoming, 'role="origin"'))


def result_of(image_bytes: int, agents: Sequence[AgentFigures], origins: Sequence[Samples]) -> Result:
    """The figures of the whole demo.

    Args: origins, what they say at the end, having begun with the demo.
    """
    seconds = [agent.seconds for agent in agents]
    fetched = sum(agent.from_peers + agent.from_origins for agent in agents)
    uploaded = sum(samples.total("kraken_p2p_bytes_total", 'direction="out"') for samples in origins)
    return Result(
        ok=all(agent.done and not agent.error for agent in agents),
        image_bytes=image_bytes,
        agents=len(agents),
        seconds_p50=round(statistics.median(seconds), 3),
        seconds_max=round(max(seconds), 3),
        peer_byte_share=round(sum(agent.from_peers for agent in agents) / fetched, 4) if fetched else 0.0,
        origin_copies=round(uploaded / image_bytes, 3),
        backend_reads=int(sum(samples.total("kraken_backend_reads_total") for samples in origins)),
    )


async def _read_one(session: aiohttp.ClientSession, address: Address) -> Samples:
    async with session.get(f"http://{address}/metrics") as response:
        return parse_samples(await response.text())
