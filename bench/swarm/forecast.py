"""What the simulator expects of the same crowd."""

from __future__ import annotations

from dataclasses import dataclass

from bench.sim import run
from bench.swarm.crowd import LAYERS_AT_ONCE
from bench.swarm.report import Figures, Setting
from kraken.runtime.garbage import without_collector
from kraken.sim.image import ImageCrowd, ImageSet
from kraken.sim.outcome import ImageOutcome, Outcome, image_outcome
from kraken.sim.scenario import Network, Scenario


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the model has to know of the place where the real crowd ran."""

    round_trip: float  # seconds
    per_byte: float  # seconds of CPU, until a received piece counts
    resent: float = 0.0  # part of what TCP sends that it sends again, for a queue was full


def forecast(name: str, setting: Setting, surroundings: Surroundings) -> Figures:
    """The simulator's figures, with a reader at each host as the clients of the real crowd are."""
    # A dial is a round trip for TCP and one for the handshake.
    part = 1.0 - surroundings.resent
    network = Network(part * setting.payload_rate, surroundings.round_trip, dial=2 * surroundings.round_trip)
    scenario = Scenario(
        hosts=setting.hosts,
        blob=sum(setting.layers),
        origins=setting.origins,
        arrivals=setting.arrivals,
        seed=setting.seed,
        readers=True,
        verify_per_byte=surroundings.per_byte,
        network=network,
    )
    if len(setting.layers) == 1:
        outcome = run(scenario)
        return _figures(name, part, outcome, outcome.reader_lag_p50, outcome.reader_lag_p99)
    crowd = ImageCrowd(scenario, ImageSet(setting.layers, LAYERS_AT_ONCE))
    without_collector(crowd.run)
    return _figures(name, part, image_outcome(crowd))


def _figures(
    name: str, part: float, outcome: Outcome | ImageOutcome, lag_p50: float | None = None, lag_p99: float | None = None
) -> Figures:
    """Args: part, of the payload rate, which fractions are to be of, that the links of the outcome had."""

    def lag(of_these_links: float | None) -> float | None:
        return None if of_these_links is None else (1.0 + of_these_links) / part - 1.0

    return Figures(
        name=name,
        unfinished=outcome.unfinished,
        p50=part * outcome.p50,
        p90=part * outcome.p90,
        p99=part * outcome.p99,
        slowest=part * outcome.slowest,
        p50_seconds=outcome.p50_seconds,
        p99_seconds=outcome.p99_seconds,
        duplicate_percent=outcome.duplicate_percent,
        origin_copies=outcome.origin_copies_total,
        busiest_origin_copies=max(outcome.origin_copies),
        announces_per_host=outcome.announces_per_host,
        control_per_host=outcome.control_per_host,
        lag_p50=lag(lag_p50),
        lag_p99=lag(lag_p99),
    )
