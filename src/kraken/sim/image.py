"""A crowd that pulls an image: several blobs, each a world of its own, over the same links.

A host begins with its first layers, and with the next one whenever it has one of them, in the order of the image. Each
layer has a tracker to itself, and connections of its own. Faults are not modelled.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from kraken.core.errors import Invalid
from kraken.sim.clock import VirtualClock
from kraken.sim.host import Host, Link
from kraken.sim.scenario import Faults, Scenario
from kraken.sim.world import Ground, World, links_of


class Image:
    """The layers of an image and their crowd. `run` lets everybody pull all of them."""

    def __init__(self, scenario: Scenario, layers: Sequence[int], at_once: int) -> None:
        """Args: scenario, of which all but the blob counts; layers, their bytes, in order; at_once, how many of them a
        host pulls at the same time.

        Raises: Invalid, for a scenario with faults, a fixed graph or late hosts, and for an image without layers.
        """
        if scenario.faults != Faults() or scenario.degree is not None or scenario.late:
            raise Invalid("an image is pulled without faults, through the tracker, by hosts none of which is late")
        if not layers or at_once < 1:
            raise Invalid(f"an image of {len(layers)} layers, {at_once} at once")
        self.scenario = scenario
        self._clock = VirtualClock()
        rng = random.Random(f"{scenario.seed}/image")
        self._began = [rng.uniform(0.0, scenario.arrivals) for _ in range(scenario.hosts)]
        self._finished = [0.0] * scenario.hosts  # when the last layer so far was there
        self._next = [0] * scenario.hosts  # the layer that a host begins with next
        self._left = scenario.hosts * len(layers)
        links = links_of(replace(scenario, blob=max(layers)), self._clock, rng)
        ends = [Link(1.0 / scenario.network.link) for _ in range(scenario.hosts + scenario.origins)]
        ground = Ground(self._clock, links, ends, self._has_one)
        self.worlds = [
            World(replace(scenario, blob=size, seed=len(layers) * scenario.seed + number), ground=ground)
            for number, size in enumerate(layers)
        ]
        for number, began in enumerate(self._began):
            for _ in range(min(at_once, len(layers))):
                self._clock.at(began, self._begin_next, number)

    def run(self) -> None:
        """Run until everybody has the image, or the scenario's horizon."""
        self._clock.run(self.scenario.horizon)

    def seconds(self) -> list[float]:
        """From the start of each host that has the image to its last layer."""
        done = [all(world.agents[it].engine.complete for world in self.worlds) for it in range(self.scenario.hosts)]
        return [end - began for end, began, whole in zip(self._finished, self._began, done, strict=True) if whole]

    def _begin_next(self, number: int, _: object) -> None:
        layer = self._next[number]
        if layer < len(self.worlds):
            self._next[number] = layer + 1
            self.worlds[layer].begin(number)

    def _has_one(self, host: Host) -> None:
        self._finished[host.number] = self._clock.now
        self._left -= 1
        if self._left:
            self._clock.at(self._clock.now, self._begin_next, host.number)
        else:
            self._clock.stop()
