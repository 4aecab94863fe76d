"""A crowd that pulls images: several blobs, each a world of its own, over the same links.

Hosts are dealt to the images in turn: as in a fleet, where different hosts run different services. A host begins with
the first layers of its image, and with the next one whenever it has one of them, in the order of the image. What images
have in common is pulled by the hosts of all of them. Each blob has a tracker to itself, and connections of its own.
Upload slots and requests a host shares out among its blobs, as a node does. Faults are not modelled.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from kraken.core.errors import Invalid
from kraken.core.metainfo import SwarmId
from kraken.sim.clock import VirtualClock
from kraken.sim.host import Host, Link
from kraken.sim.scenario import Faults, Scenario
from kraken.sim.shares import HostShares
from kraken.sim.world import Ground, World, links_of


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Images of one shape. Raises: Invalid, when there are no layers, or nothing that tells images apart."""

    layers: Sequence[int]  # bytes of each, in order
    at_once: int = 3  # layers that a host pulls at the same time
    images: int = 1
    common: int = 0  # layers, counted from the first, that all images have in common: the base image

    def __post_init__(self) -> None:
        if not self.layers or self.at_once < 1:
            raise Invalid(f"an image of {len(self.layers)} layers, {self.at_once} at once")
        if self.images < 1 or not 0 <= self.common < len(self.layers):
            told = f"{self.images} images of {len(self.layers)} layers with {self.common} in common"
            raise Invalid(f"{told}: there is at least one image, and each has a layer of its own")

    @property
    def size(self) -> int:
        """Bytes of one image."""
        return sum(self.layers)

    @property
    def stored(self) -> int:
        """Bytes of all images, what they have in common once."""
        return self.size + (self.images - 1) * sum(self.layers[self.common :])

    @property
    def blobs(self) -> int:
        """How many different layers all images have."""
        return len(self.layers) + (self.images - 1) * (len(self.layers) - self.common)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer and the hosts that pull it."""

    world: World
    places: dict[int, int]  # which agent of that world each host of the crowd is


class ImageCrowd:
    """Hosts, and the image that each of them pulls. `run` lets everybody pull all of its own."""

    def __init__(self, scenario: Scenario, pulled: ImageSet) -> None:
        """Args: scenario, of which all but the blob counts.

        Raises: Invalid, for a scenario with faults, a fixed graph or late hosts, and for one with less than a host in
        each zone for each image.
        """
        if scenario.faults != Faults() or scenario.degree is not None or scenario.late:
            raise Invalid("an image is pulled without faults, through the tracker, by hosts none of which is late")
        if scenario.hosts < pulled.images * scenario.zones:
            raise Invalid(f"{scenario.hosts} hosts for {pulled.images} images in {scenario.zones} zones")
        self.scenario = scenario
        self.pulled = pulled
        self.worlds: list[World] = []
        self.image_of = [number // scenario.zones % pulled.images for number in range(scenario.hosts)]
        self._clock = VirtualClock()
        rng = random.Random(f"{scenario.seed}/image")
        self._began = [rng.uniform(0.0, scenario.arrivals) for _ in range(scenario.hosts)]
        self._finished = [0.0] * scenario.hosts  # when the last layer so far was there
        self._next = [0] * scenario.hosts  # the layer that a host begins with next
        self._left = [len(pulled.layers)] * scenario.hosts
        self._unfinished = scenario.hosts
        self._links = links_of(replace(scenario, blob=max(pulled.layers)), self._clock, rng)
        self._ends = [Link(1.0 / scenario.network.link) for _ in range(scenario.hosts + scenario.origins)]
        self._shares = [HostShares(self._clock, scenario.peer, scenario.swarm) for _ in self._ends]
        self._layers = self._all_layers()
        for number, began in enumerate(self._began):
            for _ in range(min(pulled.at_once, len(pulled.layers))):
                self._clock.at(began, self._begin_next, number)

    def run(self) -> None:
        """Run until everybody has its image, or the scenario's horizon."""
        self._clock.run(self.scenario.horizon)

    def seconds(self, image: int | None = None) -> list[float]:
        """From the start of each host that has its image to its last layer. Args: image, whose hosts; None for all."""
        hosts = [it for it in range(self.scenario.hosts) if not self._left[it] and image in (None, self.image_of[it])]
        return [self._finished[it] - self._began[it] for it in hosts]

    def _all_layers(self) -> list[list[_Layer]]:
        """The layers of each image; those in common are the same ones."""
        layers, common = self.pulled.layers, self.pulled.common
        base = self._made(layers[:common], range(self.scenario.hosts))
        crowds = [
            [number for number, its in enumerate(self.image_of) if its == image] for image in range(self.pulled.images)
        ]
        return [base + self._made(layers[common:], crowd) for crowd in crowds]

    def _made(self, sizes: Sequence[int], crowd: Sequence[int]) -> list[_Layer]:
        """Layers of so many bytes, to be pulled by these hosts."""
        numbers = (*crowd, *range(self.scenario.hosts, len(self._ends)))
        ends, shares = [self._ends[number] for number in numbers], [self._shares[number] for number in numbers]
        ground = Ground(self._clock, self._links, ends, partial(self._has_one, crowd), crowd, shares)
        places = {number: place for place, number in enumerate(crowd)}
        layers = []
        for size in sizes:
            seed = self.pulled.blobs * self.scenario.seed + len(self.worlds)
            swarm = SwarmId(len(self.worlds).to_bytes(20))
            world = World(replace(self.scenario, hosts=len(crowd), blob=size, seed=seed), ground=ground, swarm=swarm)
            self.worlds.append(world)
            layers.append(_Layer(world, places))
        return layers

    def _begin_next(self, number: int, _: object) -> None:
        layers, at = self._layers[self.image_of[number]], self._next[number]
        if at < len(layers):
            self._next[number] = at + 1
            layers[at].world.begin(layers[at].places[number])

    def _has_one(self, crowd: Sequence[int], host: Host) -> None:
        number = crowd[host.number]
        self._finished[number] = self._clock.now
        self._left[number] -= 1
        self._unfinished -= not self._left[number]
        if self._unfinished:
            self._clock.at(self._clock.now, self._begin_next, number)
        else:
            self._clock.stop()
