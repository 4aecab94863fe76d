"""Metric families for what happens fifty thousand times a second.

Those of prometheus-client take a lock, and 0.35 us for a count and 0.7 us for an observation. These are for one thread,
the event loop's, and take a fifth of that.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Count:
    """One counter of a family."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self) -> None:
        self.value += 1


class CountFamily(Collector):
    """Counters by their labels."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str]) -> None:
        self._about = (name, meaning)
        self._names = tuple(labels)
        self._counts: dict[tuple[str, ...], Count] = {}

    def labels(self, **values: str) -> Count:
        """The counter with these values of the labels, all of them."""
        key = tuple(values[name] for name in self._names)
        if key not in self._counts:
            self._counts[key] = Count()
        return self._counts[key]

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(*self._about, labels=self._names)
        for key, count in self._counts.items():
            family.add_metric(key, count.value)
        yield family


class Spread:
    """One histogram of a family."""

    __slots__ = ("_bounds", "_first", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._first = bounds[0]
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        if value <= self._first:  # nearly all, where it must be cheap
            self.counts[0] += 1
        else:
            self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class SpreadFamily(Collector):
    """Histograms by one label. `bounds` are the inclusive upper ends of the buckets; one more has no end."""

    def __init__(self, name: str, meaning: str, label: str, bounds: Sequence[float]) -> None:
        self._about = (name, meaning)
        self._label = label
        self._bounds = tuple(bounds)
        self._spreads: dict[str, Spread] = {}

    def labels(self, **values: str) -> Spread:
        """The histogram with this value of the label."""
        key = values[self._label]
        if key not in self._spreads:
            self._spreads[key] = Spread(self._bounds)
        return self._spreads[key]

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(*self._about, labels=(self._label,))
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        for key, spread in self._spreads.items():
            below, buckets = 0, []
            for name, count in zip(names, spread.counts, strict=True):
                below += count
                buckets.append((name, below))
            family.add_metric((key,), buckets, spread.total)
        yield family
