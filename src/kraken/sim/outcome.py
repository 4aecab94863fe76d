"""How a run went, in figures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from kraken.sim.graph import floor
from kraken.sim.host import Host
from kraken.sim.image import ImageCrowd
from kraken.sim.world import World


@dataclass(frozen=True, slots=True)
class Outcome:
    """Figures of one run. Fractions are of line rate: ideal time of the pull by its real time; 1.0 is perfect.

    Agents that died, that lie, or whose link is slow are left out of them; those with a slow link are told apart,
    of their own line rate.
    """

    hosts: int
    pieces: int
    piece_bytes: int
    ideal_seconds: float
    p50: float
    p90: float
    p99: float
    slowest: float
    floor: float  # what no policy of whole pieces exceeds when all begin at once
    p50_seconds: float
    p99_seconds: float
    stragglers_p50: float | None
    duplicate_percent: float  # of the bytes that agents received
    origin_copies: tuple[float, ...]  # blobs that each origin uploaded
    origin_copies_total: float
    crossing_percent: float  # of the bytes sent, to another zone
    control_per_host: float  # HAVE and request messages sent
    announces_per_host: float
    most_connections: int
    reader_lag_p50: float | None  # seconds beyond the ideal that a reader at line rate waited, by the ideal
    reader_lag_p99: float | None
    unfinished: int  # live, honest agents that never had the blob
    dead: int
    events: int
    events_per_second: float
    wall_seconds: float
    digest: str  # of the run; the same for the same scenario

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def outcome(world: World) -> Outcome:
    """The figures of a world that has run."""
    scenario, agents = world.scenario, world.agents
    ideal = scenario.ideal
    healthy = [host for host in agents if not (host.slow or host.lies or host.dead)]
    rates = _rates(healthy, ideal)
    slow = _rates([host for host in agents if host.slow], ideal * scenario.faults.slowness)
    copies = tuple(host.tally.sent / scenario.blob for host in world.origins)
    received = sum(host.tally.received for host in agents)
    sent = sum(host.tally.sent for host in world.hosts)
    lags = sorted(
        (max(reader.read_at for reader in host.readers) - host.began_at) / ideal - 1.0
        for host in healthy
        if host.readers
    )
    network, piece = scenario.network, world.pieces.piece_length
    hop = 3 * network.rtt / 2 + scenario.verify + piece * scenario.verify_per_byte
    return Outcome(
        hosts=scenario.hosts,
        pieces=world.pieces.count,
        piece_bytes=piece,
        ideal_seconds=ideal,
        p50=reached_by(rates, 0.5),
        p90=reached_by(rates, 0.9),
        p99=reached_by(rates, 0.99),
        slowest=rates[-1] if rates else 0.0,
        floor=floor(scenario.hosts, scenario.origins, piece / network.link, hop, ideal),
        p50_seconds=_seconds(ideal, reached_by(rates, 0.5)),
        p99_seconds=_seconds(ideal, reached_by(rates, 0.99)),
        stragglers_p50=reached_by(slow, 0.5) if slow else None,
        duplicate_percent=100.0 * sum(host.tally.duplicate for host in agents) / received if received else 0.0,
        origin_copies=copies,
        origin_copies_total=sum(copies),
        crossing_percent=100.0 * sum(host.tally.crossed for host in world.hosts) / max(sent, 1),
        control_per_host=sum(host.tally.haves + host.tally.requests for host in agents) / len(agents),
        announces_per_host=sum(host.tally.announces for host in agents) / len(agents),
        most_connections=max(host.most_connected for host in agents),
        reader_lag_p50=lags[len(lags) // 2] if lags else None,
        reader_lag_p99=lags[min(int(0.99 * len(lags)), len(lags) - 1)] if lags else None,
        unfinished=len(world.unfinished()),
        dead=sum(host.dead for host in agents),
        events=world.log.count,
        events_per_second=world.log.count / world.wall_seconds if world.wall_seconds else 0.0,
        wall_seconds=world.wall_seconds,
        digest=world.log.digest(),
    )


@dataclass(frozen=True, slots=True)
class ImageOutcome:
    """Figures of a crowd that pulled images: of all layers of one together, from a host's start to its last layer.

    Fractions are as in `Outcome`, of all hosts unless it says otherwise.
    """

    hosts: int
    images: int
    layers: int  # of one image
    common_layers: int  # of them, that all images have in common
    ideal_seconds: float
    p50: float
    p90: float
    p99: float
    slowest: float
    p50_by_image: tuple[float, ...]  # of the hosts of each
    p50_seconds: float
    p99_seconds: float
    duplicate_percent: float  # of the bytes that agents received
    origin_copies: tuple[float, ...]  # that each origin uploaded, of all images with what they have in common once
    origin_copies_total: float
    control_per_host: float  # HAVE and request messages sent
    announces_per_host: float
    unfinished: int
    events: int
    digest: str  # of the run; the same for the same scenario and images

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def image_outcome(crowd: ImageCrowd) -> ImageOutcome:
    """The figures of images that have been pulled."""
    scenario, pulled = crowd.scenario, crowd.pulled
    ideal = pulled.size / scenario.network.link
    rates = _in_order(ideal, crowd.seconds())
    tallies = [host.tally for world in crowd.worlds for host in world.agents]
    copies = tuple(
        sum(world.origins[number].tally.sent for world in crowd.worlds) / pulled.stored
        for number in range(scenario.origins)
    )
    return ImageOutcome(
        hosts=scenario.hosts,
        images=pulled.images,
        layers=len(pulled.layers),
        common_layers=pulled.common,
        ideal_seconds=ideal,
        p50=reached_by(rates, 0.5),
        p90=reached_by(rates, 0.9),
        p99=reached_by(rates, 0.99),
        slowest=rates[-1] if rates else 0.0,
        p50_by_image=tuple(reached_by(_in_order(ideal, crowd.seconds(image)), 0.5) for image in range(pulled.images)),
        p50_seconds=_seconds(ideal, reached_by(rates, 0.5)),
        p99_seconds=_seconds(ideal, reached_by(rates, 0.99)),
        duplicate_percent=100.0 * sum(it.duplicate for it in tallies) / max(sum(it.received for it in tallies), 1),
        origin_copies=copies,
        origin_copies_total=sum(copies),
        control_per_host=sum(it.haves + it.requests for it in tallies) / scenario.hosts,
        announces_per_host=sum(it.announces for it in tallies) / scenario.hosts,
        unfinished=scenario.hosts - len(rates),
        events=sum(world.log.count for world in crowd.worlds),
        digest=hashlib.sha256("".join(world.log.digest() for world in crowd.worlds).encode()).hexdigest(),
    )


def _rates(hosts: list[Host], ideal: float) -> list[float]:
    """Fractions of line rate, the best first."""
    took = [host.finished_at - host.began_at for host in hosts if host.finished_at is not None]
    return _in_order(ideal, took)


def _in_order(ideal: float, took: Sequence[float]) -> list[float]:
    return sorted((ideal / each for each in took), reverse=True)


def reached_by(ordered: Sequence[float], part: float) -> float:
    """Of figures in order, the best first: the one that this part of them reaches or exceeds; 0.0 of none."""
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def _seconds(ideal: float, rate: float) -> float:
    return ideal / rate if rate else 0.0
