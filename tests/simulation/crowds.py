"""Scenarios that take seconds: small crowds, with the proportions of large ones."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from kraken.core.pieces import KIB, MIB
from kraken.sim.outcome import Outcome, outcome
from kraken.sim.scenario import Network, Scenario
from kraken.sim.world import World

INSTANT = Network(rtt=0.0, dial=0.0)
"""A network that costs nothing but the bytes."""

QUICK = Scenario(hosts=30, blob=128 * MIB, piece=512 * KIB, arrivals=0.05)
"""256 pieces: latency and the first pieces weigh more than in a blob of 1,024."""


@cache
def ran(scenario: Scenario) -> World:
    """The world of a scenario after its run; each is run once."""
    world = World(scenario)
    world.run()
    return world


def figures(scenario: Scenario) -> Outcome:
    return outcome(ran(scenario))


def instant(scenario: Scenario) -> Scenario:
    """The same on a network without latency, with pieces that need no checking, on an ideal graph."""
    return replace(scenario, network=INSTANT, verify=0.0, verify_per_byte=0.0, arrivals=0.0)
