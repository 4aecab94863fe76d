"""An image in the simulator: several blobs over the same links."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kraken.core.errors import Invalid
from kraken.core.pieces import MIB
from kraken.sim.image import Image
from kraken.sim.outcome import image_outcome
from kraken.sim.scenario import Faults, Network, Scenario

LAYERS = (4 * MIB, 1 * MIB, 8 * MIB, 2 * MIB)
LINK = 10e6
CROWD = Scenario(hosts=6, origins=2, arrivals=0.1, readers=True, network=Network(link=LINK))
INSTANT = Scenario(
    hosts=1,
    origins=1,
    arrivals=0.0,
    network=Network(link=LINK, rtt=0.0, dial=0.0),
    verify=0.0,
    verify_per_byte=0.0,
)


def pulled(scenario: Scenario, at_once: int = 3) -> Image:
    image = Image(scenario, LAYERS, at_once)
    image.run()
    return image


@pytest.mark.parametrize("at_once", [2, 3, 4])
def test_one_host_without_latency_has_the_layers_in_the_time_of_their_bytes(at_once: int) -> None:
    assert pulled(INSTANT, at_once).seconds() == [pytest.approx(sum(LAYERS) / LINK, rel=0.01)]


def test_everybody_has_every_layer_and_nobody_is_faster_than_the_link() -> None:
    image = pulled(CROWD)
    seconds = image.seconds()

    assert len(seconds) == CROWD.hosts
    assert min(seconds) >= sum(LAYERS) / LINK
    assert all(host.finished_at is not None for world in image.worlds for host in world.agents)
    sent = sum(host.tally.sent for world in image.worlds for host in world.hosts)
    assert sent >= sum(host.tally.received for world in image.worlds for host in world.agents) >= 6 * sum(LAYERS)


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_host_begins_with_the_next_layer_when_it_has_one(at_once: int) -> None:
    image = pulled(CROWD, at_once)

    for number in range(CROWD.hosts):
        own = [world.agents[number] for world in image.worlds]
        ends = sorted(host.finished_at or 0.0 for host in own)
        first = own[0].began_at
        assert [host.began_at for host in own] == [first] * at_once + ends[: len(LAYERS) - at_once]


def test_one_seed_gives_one_run() -> None:
    assert pulled(CROWD).seconds() == pulled(CROWD).seconds() != pulled(replace(CROWD, seed=2)).seconds()


def test_the_figures_of_an_image_are_those_of_all_its_layers() -> None:
    image = pulled(CROWD)
    figures = image_outcome(image)

    assert (figures.hosts, figures.layers, figures.unfinished) == (6, 4, 0)
    assert figures.ideal_seconds == sum(LAYERS) / LINK
    assert figures.slowest == pytest.approx(figures.ideal_seconds / max(image.seconds()))
    assert 0 < figures.slowest <= figures.p99 <= figures.p90 <= figures.p50 <= 1
    assert 1.0 <= figures.origin_copies_total == sum(figures.origin_copies) < 6


@pytest.mark.parametrize(
    "crowd", [replace(CROWD, faults=Faults(liars=1)), replace(CROWD, degree=2), replace(CROWD, late=0.5)]
)
def test_what_is_not_modelled_is_refused(crowd: Scenario) -> None:
    with pytest.raises(Invalid):
        Image(crowd, LAYERS, 3)


def test_an_image_has_layers() -> None:
    with pytest.raises(Invalid):
        Image(CROWD, (), 3)
