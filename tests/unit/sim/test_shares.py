"""What the layers of an image share on a simulated host."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.sim.test_image import CROWD, LAYERS

from kraken.core.pieces import MIB
from kraken.p2p.settings import PeerSettings
from kraken.sim.image import ImageCrowd, ImageSet
from kraken.sim.outcome import image_outcome

BYTES = 3 * MIB
SCARCE = replace(CROWD, peer=PeerSettings(upload_slots=4, buffer_bytes=BYTES))


class Watched(ImageCrowd):
    """Looked at every 10 ms: how much is sent at once, and how much layers may ask for together."""

    most_sent = 0
    most_allowed = 0
    in_company = 0

    def run(self) -> None:
        self._clock.at(0.0, self._look)
        super().run()

    def _look(self, _one: object, _two: object) -> None:
        self.most_sent = max(self.most_sent, *(len(link.active) for link in self._ends))
        for shares in self._shares:
            engines = [host.engine for host in shares._wanted.values()]
            allowed = [engine.allowance for engine in engines if engine.allowance is not None]
            if len(engines) > 1:
                assert len(allowed) == len(engines)
                self.in_company += 1
                self.most_allowed = max(self.most_allowed, sum(allowed) * engines[0].pieces.piece_length)
            else:
                assert allowed == []
        self._clock.at(self._clock.now + 0.01, self._look)


def watched(at_once: int = 4) -> Watched:
    crowd = Watched(SCARCE, ImageSet(LAYERS, at_once))
    crowd.run()
    assert len(crowd.seconds()) == SCARCE.hosts
    return crowd


def test_no_more_is_sent_at_once_than_a_host_has_slots() -> None:
    assert watched().most_sent == 4


def test_layers_that_are_pulled_at_once_ask_for_no_more_than_the_host_has_memory_for() -> None:
    crowd = watched()

    assert crowd.in_company > 0
    assert 0 < crowd.most_allowed <= BYTES


def test_a_layer_that_is_alone_asks_for_what_it_likes() -> None:
    assert watched(at_once=1).in_company == 0


def test_every_layer_gets_its_bytes_although_slots_are_scarce() -> None:
    crowd = watched()
    tallies = [host.tally for world in crowd.worlds for host in world.hosts]

    assert sum(it.received - it.duplicate for it in tallies) == SCARCE.hosts * sum(LAYERS)
    assert image_outcome(crowd).unfinished == 0
