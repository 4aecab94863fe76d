"""An image in the simulator: several blobs over the same links."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kraken.core.errors import Invalid
from kraken.core.pieces import MIB
from kraken.sim.image import ImageCrowd, ImageSet
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


def pulled(scenario: Scenario, at_once: int = 3, images: int = 1, common: int = 0) -> ImageCrowd:
    crowd = ImageCrowd(scenario, ImageSet(LAYERS, at_once, images, common))
    crowd.run()
    return crowd


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
        ImageCrowd(crowd, ImageSet(LAYERS))


def test_an_image_has_layers() -> None:
    with pytest.raises(Invalid):
        ImageSet(())
    with pytest.raises(Invalid):
        ImageSet(LAYERS, at_once=0)


@pytest.mark.parametrize(("images", "common"), [(0, 0), (2, -1), (2, len(LAYERS))])
def test_images_differ_in_a_layer_at_least(images: int, common: int) -> None:
    with pytest.raises(Invalid, match="a layer of its own"):
        ImageSet(LAYERS, images=images, common=common)


def test_each_image_has_hosts_in_every_zone() -> None:
    with pytest.raises(Invalid, match="6 hosts for 4 images in 2 zones"):
        ImageCrowd(replace(CROWD, zones=2), ImageSet(LAYERS, images=4))
    crowd = ImageCrowd(replace(CROWD, zones=2), ImageSet(LAYERS, images=3))

    assert crowd.image_of == [0, 0, 1, 1, 2, 2]
    for world in crowd.worlds:
        assert [host.zone for host in world.agents] == ["zone-0", "zone-1"]


def test_the_bytes_and_blobs_of_images_count_what_they_have_in_common_once() -> None:
    images = ImageSet(LAYERS, images=3, common=2)

    assert (images.size, images.stored) == (15 * MIB, (5 + 3 * 10) * MIB)
    assert images.blobs == 2 + 3 * 2
    assert ImageSet(LAYERS).stored == images.size
    assert ImageSet(LAYERS).blobs == len(LAYERS)


@pytest.mark.parametrize("common", [0, 2])
def test_every_host_has_the_layers_of_its_image_and_no_byte_is_lost(common: int) -> None:
    crowd = pulled(CROWD, images=3, common=common)
    figures = image_outcome(crowd)

    assert crowd.image_of == [0, 1, 2, 0, 1, 2]
    assert [len(world.agents) for world in crowd.worlds] == [6] * common + [2] * 3 * (len(LAYERS) - common)
    assert all(host.finished_at is not None for world in crowd.worlds for host in world.agents)
    assert figures.unfinished == 0
    tallies = [host.tally for world in crowd.worlds for host in world.hosts]
    received = sum(it.received for it in tallies)
    assert sum(it.sent for it in tallies) >= received
    assert received - sum(it.duplicate for it in tallies) == CROWD.hosts * sum(LAYERS)
    assert min(crowd.seconds()) >= sum(LAYERS) / LINK


def test_images_share_the_uplinks_of_the_origins() -> None:
    one, three = (pulled(replace(CROWD, origins=1, arrivals=0.0), images=images) for images in (1, 3))

    assert max(three.seconds()) >= 3 * sum(LAYERS) / LINK  # the only origin sends each of three images once
    assert max(three.seconds()) > max(one.seconds())


def test_a_base_in_common_spares_the_origins_bytes_and_the_hosts_time() -> None:
    apart, based = (pulled(CROWD, images=3, common=common) for common in (0, 3))
    uploaded = [sum(host.tally.sent for world in crowd.worlds for host in world.origins) for crowd in (apart, based)]

    assert uploaded[1] < uploaded[0]
    assert sum(based.seconds()) < sum(apart.seconds())


def test_the_figures_of_several_images_tell_them_apart() -> None:
    crowd = pulled(CROWD, images=2, common=1)
    figures = image_outcome(crowd)

    assert (figures.images, figures.layers, figures.common_layers) == (2, 4, 1)
    assert figures.ideal_seconds == sum(LAYERS) / LINK
    assert len(figures.p50_by_image) == 2
    assert sorted(crowd.seconds(0) + crowd.seconds(1)) == sorted(crowd.seconds())
    assert 1.0 <= figures.origin_copies_total < 3


@pytest.mark.parametrize("images", [1, 3])
def test_one_seed_gives_one_digest(images: int) -> None:
    first, again, other = (
        image_outcome(pulled(replace(CROWD, seed=seed), images=images, common=1)).digest for seed in (1, 1, 2)
    )

    assert first == again != other
