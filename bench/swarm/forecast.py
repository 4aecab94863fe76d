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


def forecast(name: str, setting: Setting, surroundings: Surroundings) -> Figures:
    """The simulator's figures, with a reader at each host as the clients of the real crowd are."""
    # A dial is a round trip for TCP and one for the handshake.
    network = Network(setting.payload_rate, surroundings.round_trip, dial=2 * surroundings.round_trip)
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
        return _figures(name, outcome, outcome.reader_lag_p50, outcome.reader_lag_p99)
    crowd = ImageCrowd(scenario, ImageSet(setting.layers, LAYERS_AT_ONCE))
    without_collector(crowd.run)
    return _figures(name, image_outcome(crowd))


def _figures(
    name: str, outcome: Outcome | ImageOutcome, lag_p50: float | None = None, lag_p99: float | None = None
) -> Figures:
    return Figures(
        name=name,
        unfinished=outcome.unfinished,
        p50=outcome.p50,
        p90=outcome.p90,
        p99=outcome.p99,
        slowest=outcome.slowest,
        p50_seconds=outcome.p50_seconds,
        p99_seconds=outcome.p99_seconds,
        duplicate_percent=outcome.duplicate_percent,
        origin_copies=outcome.origin_copies_total,
        busiest_origin_copies=max(outcome.origin_copies),
        announces_per_host=outcome.announces_per_host,
        control_per_host=outcome.control_per_host,
        lag_p50=lag_p50,
        lag_p99=lag_p99,
    )
