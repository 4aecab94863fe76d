from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from tests.contracts.stores import Stores, memory_stores
from tests.helpers.blobs import a_blob, stream_of

from kraken.core.errors import Unavailable
from kraken.core.metainfo import Metainfo
from kraken.core.peers import Address
from kraken.observability.logs import get_logger
from kraken.origin.replication import Replicator
from kraken.runtime.threads import FileThreads
from kraken.storage.layout import session_id

ANNA, BERT, CARL, DORA = (Address(name, 5200) for name in ("anna", "bert", "carl", "dora"))
BLOB = a_blob()


@dataclass
class Hosts:
    """A `ReplicaSender` whose hosts answer when the test says so."""

    gates: dict[Address, asyncio.Event] = field(default_factory=dict)
    dead: set[Address] = field(default_factory=set)
    stored: list[Address] = field(default_factory=list)

    async def send(self, host: Address, metainfo: Metainfo) -> None:
        if host in self.gates:
            await self.gates[host].wait()
        if host in self.dead:
            raise Unavailable(f"{host} is dead")
        self.stored.append(host)


@dataclass(frozen=True)
class Owners:
    """A `Placement` that gives every key to the same hosts."""

    hosts: tuple[Address, ...]

    def owners(self, key: str) -> list[Address]:
        return list(self.hosts)


@pytest.fixture
async def stores() -> AsyncIterator[Stores]:
    threads = FileThreads()
    made = memory_stores(threads)
    session = session_id("session-1")
    await made.uploads.begin(session)
    await made.uploads.append(session, 0, stream_of(BLOB.data))
    await made.uploads.commit(session, BLOB.digest)
    yield made
    threads.close()


def replicator(stores: Stores, hosts: Hosts, *owners: Address, quorum: int = 2) -> Replicator:
    log = get_logger("test", "replicator")
    return Replicator(ANNA, Owners(owners), stores.blobs, hosts, quorum, log, stores.metrics)


async def test_a_quorum_is_enough_and_the_rest_follows(stores: Stores) -> None:
    hosts = Hosts(gates={CARL: asyncio.Event()})
    copies = replicator(stores, hosts, ANNA, BERT, CARL)

    assert await copies.replicate(BLOB.metainfo) == 2
    assert hosts.stored == [BERT]

    hosts.gates[CARL].set()
    await copies.close(drain_seconds=10)
    assert hosts.stored == [BERT, CARL]
    assert stores.metrics.value("kraken_replicas_total", result="stored") == 2.0
    assert await stores.blobs.size(BLOB.digest) == len(BLOB.data)


async def test_one_dead_owner_of_three_does_not_matter(stores: Stores) -> None:
    hosts = Hosts(dead={BERT})
    copies = replicator(stores, hosts, ANNA, BERT, CARL)

    assert await copies.replicate(BLOB.metainfo) == 2
    await copies.close(drain_seconds=10)
    assert stores.metrics.value("kraken_replicas_total", result="failed") == 1.0


async def test_too_few_owners_make_the_push_fail_and_keep_what_is_stored(stores: Stores) -> None:
    copies = replicator(stores, Hosts(dead={BERT, CARL}), ANNA, BERT, CARL)

    with pytest.raises(Unavailable, match="only 1 of the 2"):
        await copies.replicate(BLOB.metainfo)

    assert await stores.blobs.size(BLOB.digest) == len(BLOB.data)
    await copies.close(drain_seconds=10)


async def test_an_owner_alone_is_its_own_quorum(stores: Stores) -> None:
    copies = replicator(stores, Hosts(), ANNA, quorum=3)

    assert await copies.replicate(BLOB.metainfo) == 1
    await copies.close(drain_seconds=10)


async def test_a_stranger_lets_go_only_when_all_owners_have_it(stores: Stores) -> None:
    hosts = Hosts(dead={DORA})
    copies = replicator(stores, hosts, BERT, CARL, DORA)
    assert await copies.replicate(BLOB.metainfo) == 2
    await copies.close(drain_seconds=10)
    assert await stores.blobs.size(BLOB.digest) == len(BLOB.data)

    hosts.dead.clear()
    copies = replicator(stores, hosts, BERT, CARL, DORA)
    assert await copies.replicate(BLOB.metainfo) >= 2
    await copies.close(drain_seconds=10)
    assert await stores.blobs.size(BLOB.digest) is None


async def test_a_pusher_who_goes_away_does_not_stop_the_copies(stores: Stores) -> None:
    hosts = Hosts(gates={BERT: asyncio.Event(), CARL: asyncio.Event()})
    copies = replicator(stores, hosts, ANNA, BERT, CARL)
    push = asyncio.create_task(copies.replicate(BLOB.metainfo))
    await asyncio.sleep(0)
    push.cancel()
    await asyncio.gather(push, return_exceptions=True)
    for gate in hosts.gates.values():
        gate.set()
    await copies.close(drain_seconds=10)

    assert sorted(hosts.stored) == [BERT, CARL]


async def test_a_drain_that_is_over_fails_the_push(stores: Stores) -> None:
    hosts = Hosts(gates={BERT: asyncio.Event(), CARL: asyncio.Event()})
    copies = replicator(stores, hosts, ANNA, BERT, CARL)
    push = asyncio.create_task(copies.replicate(BLOB.metainfo))
    await asyncio.sleep(0)
    await copies.close(drain_seconds=0)

    with pytest.raises(Unavailable):
        await push
