"""Settings: where the other components are, and how it is found out whether they live."""

from __future__ import annotations

from dataclasses import dataclass

from kraken.core.peers import Address
from kraken.core.settings import Unit, setting


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """The other components. The lists must be the same everywhere, or owners are not agreed on."""

    origins: tuple[Address, ...] = setting((), meaning="HTTP addresses of all origins.")
    trackers: tuple[Address, ...] = setting((), meaning="HTTP addresses of all trackers.")
    indexes: tuple[Address, ...] = setting((), meaning="HTTP addresses of all index nodes.")
    replicas: int = setting(
        3, low=1, high=100, meaning="Origins that keep a copy of each blob. Must be the same everywhere."
    )
    probe_seconds: float = setting(
        5.0, unit=Unit.SECONDS, low=0.05, meaning="How often a component that is up is asked whether it still is."
    )
    retry_seconds: float = setting(
        1.0, unit=Unit.SECONDS, low=0.05, meaning="How often a component that did not answer is asked again."
    )
    probe_timeout_seconds: float = setting(
        2.0, unit=Unit.SECONDS, low=0.05, meaning="A component that does not answer within this time did not answer."
    )
    failures_to_down: int = setting(
        2, low=1, meaning="After so many failures in a row, of probes or of requests, a component counts as down."
    )
