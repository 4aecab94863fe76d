"""What the command prints and draws."""

from __future__ import annotations

import json
from xml.etree import ElementTree

from kraken.cli.sim import as_text
from kraken.core.pieces import MIB
from kraken.sim.drawing import Curve, Label, svg
from kraken.sim.outcome import outcome
from kraken.sim.plot import plot
from kraken.sim.scenario import Scenario
from kraken.sim.world import World


def a_world() -> World:
    world = World(Scenario(hosts=5, blob=4 * MIB, arrivals=0.01, readers=True), samples=20)
    world.run()
    return world


def test_the_figures_are_told_in_words_and_as_json() -> None:
    figures = outcome(a_world())

    assert "5, of which 0 died and 0 live ones never finished" in as_text(figures)
    assert json.loads(json.dumps(figures.as_dict()))["digest"] == figures.digest
    assert 0 < figures.slowest <= figures.p99 <= figures.p90 <= figures.p50 <= 1


def test_the_picture_has_four_curves_and_says_what_they_are() -> None:
    world = a_world()
    picture = plot(world, outcome(world))
    texts = [shape.text for shape in picture.shapes if isinstance(shape, Label)]

    assert sum(isinstance(shape, Curve) and len(shape.points) == len(world.samples) for shape in picture.shapes) == 4
    assert texts[0].startswith("5 hosts, 16 pieces, 3 origins, seed 1: p50 0.")
    assert texts[-1] == "copies of the rarest piece"


def test_the_picture_is_well_formed() -> None:
    world = a_world()
    picture = ElementTree.fromstring(svg(plot(world, outcome(world))))  # ours, not a stranger's

    assert len(picture.findall("{http://www.w3.org/2000/svg}polyline")) == 9
