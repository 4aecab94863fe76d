"""What sees the work of a proxy."""

from __future__ import annotations

from dataclasses import dataclass

from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class Observers:
    """What sees the work: log, metrics and clock."""

    log: Log
    metrics: Metrics
    clock: Clock
