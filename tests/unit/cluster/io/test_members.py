from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from kraken.cluster.hashring import rank
from kraken.cluster.hosts import NodeCard
from kraken.cluster.io.members import Members
from kraken.cluster.settings import ClusterSettings
from kraken.core.errors import Unavailable
from kraken.core.peers import Address
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.runtime.web_client import ClientSettings, HttpClient

HOSTS = tuple(Address(f"origin-{number}", 5200) for number in range(4))
ANNA = HOSTS[0]


class Cards(HttpClient):
    """A client that knows what each host answers, and counts how often it was asked."""

    def __init__(self, answers: dict[Address, NodeCard]) -> None:
        super().__init__(ClientSettings())
        self.answers = answers
        self.asked = asyncio.Semaphore(0)

    async def json(self, method: str, address: Address, path: str, **_: Any) -> Any:
        assert (method, path) == ("GET", "/node")
        self.asked.release()
        if address not in self.answers:
            raise Unavailable(f"{address}: cannot connect")
        return self.answers[address]


def members_of(cards: Cards, metrics: Metrics | None = None) -> Members:
    settings = ClusterSettings(failures_to_down=1, probe_seconds=0.05, retry_seconds=0.05)
    return Members("origin", HOSTS, cards, settings, get_logger("test", "m"), metrics or Metrics("test", "m"))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # members tell nobody when they change their mind
            await asyncio.sleep(0.001)


async def test_probes_find_who_is_dead_and_who_is_back() -> None:
    cards = Cards({host: NodeCard("origin", host.host, "0.0.0.0:5300", "aa") for host in HOSTS[1:]})
    metrics = Metrics("test", "m")
    members = members_of(cards, metrics)
    assert members.healthy() == list(HOSTS)
    await members.start()

    await until(lambda: members.healthy() == list(HOSTS[1:]) == members.heard())
    assert members.card(ANNA) is None
    assert members.card(HOSTS[1]) == NodeCard("origin", "origin-1", "0.0.0.0:5300", "aa")
    assert metrics.value("kraken_cluster_hosts_up", kind="origin") == 3.0

    cards.answers[ANNA] = NodeCard("origin", "anna")
    await until(lambda: members.heard() == list(HOSTS))
    assert members.card(ANNA) == NodeCard("origin", "anna")
    await members.stop()


async def test_the_living_come_first_in_the_rank_of_a_key() -> None:
    members = members_of(Cards({}))
    ranked = rank("key", HOSTS)
    assert members.ranked("key") == ranked

    members.report_failure(ranked[0])

    assert members.ranked("key") == [*ranked[1:], ranked[0]]
    assert members.owners("key", 2) == ranked[:2]
    assert members.owners("key") == ranked[:3]
    members.report_success(ranked[0])
    assert members.ranked("key") == ranked


async def test_a_component_of_another_kind_is_not_used() -> None:
    cards = Cards({host: NodeCard("tracker", "wrong") for host in HOSTS})
    members = members_of(cards)
    await members.start()

    await until(lambda: members.healthy() == [])
    assert members.card(ANNA) is None
    await members.stop()


async def test_a_card_that_makes_no_sense_is_a_failure() -> None:
    cards = Cards({host: NodeCard("origin", "x", "no address at all") for host in HOSTS})
    members = members_of(cards)
    await members.start()

    await until(lambda: members.healthy() == [])
    await members.stop()
