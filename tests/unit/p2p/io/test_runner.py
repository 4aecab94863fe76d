"""One swarm between its engine and its connections: who gets memory, who gives it back, and what is told when."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import cast

import pytest
from msgspec.structs import replace
from tests.helpers.blobs import Blob, a_blob

from kraken.core.digest import Digest
from kraken.core.errors import PeerMisbehaved
from kraken.core.metainfo import SwarmId
from kraken.core.peers import Address, PeerId, Role
from kraken.core.pieces import MIB, PieceIndex
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.p2p import wire
from kraken.p2p.dialing import Candidate
from kraken.p2p.events import PeersOffered, PieceLost, PieceVerified
from kraken.p2p.handshake import STOCK_BLOCK, Introduction
from kraken.p2p.io.buffers import BufferPool
from kraken.p2p.io.connection import Connection
from kraken.p2p.io.runner import Peer, SwarmRunner
from kraken.p2p.io.write_turns import Write
from kraken.p2p.ledger import PeerKey
from kraken.p2p.settings import SwarmSettings
from kraken.p2p.suggestions import Lot
from kraken.p2p.wire import Flag, Kind, PieceHeader, Span
from kraken.runtime.clock import SystemClock
from kraken.runtime.tasks import Tasks
from kraken.runtime.threads import FileThreads
from kraken.storage.io.catalog_store import CatalogBlobStore
from kraken.storage.io.memory import MemoryMedium

KRAKEN = Introduction(Role.AGENT, "", 16 * MIB, 1)


class RecordedHost:
    """A node that writes down what a swarm orders."""

    def __init__(self) -> None:
        self.peer_id = PeerId(b"m" * 20)
        self.zone = ""
        self.metrics = Metrics("agent", "test")
        self.log = get_logger("agent", "test")
        self.tasks = Tasks(self.log, self.metrics)
        self.buffers = BufferPool(16 * MIB)
        self.shares = self
        self.dialled: list[Candidate] = []
        self.needy: list[SwarmId] = []
        self.writing: set[asyncio.Future[bool]] = set()
        self.slots_free = True
        self.appetite_changes = 0
        self.waiting_for_slots: set[PeerKey] = set()

    def lot(self, _digest: Digest) -> Lot | None:
        return None

    def dial(self, _runner: SwarmRunner, candidate: Candidate) -> None:
        self.dialled.append(candidate)

    def ban(self, _peer: Peer, _reason: str) -> None:
        raise AssertionError("nobody lies here")

    def peers_needed(self, swarm: SwarmId) -> None:
        self.needy.append(swarm)

    def demand_changed(self) -> None: ...

    def rank(self, _runner: SwarmRunner) -> int:
        return 0

    def write(self, _runner: SwarmRunner, write: Write, _size: int) -> None:
        outcome = write.begin()
        self.writing.add(outcome)
        outcome.add_done_callback(write.ended)
        outcome.add_done_callback(self.writing.discard)

    def appetite_changed(self) -> None:
        self.appetite_changes += 1

    def ask_slot(self, runner: SwarmRunner, peer: PeerKey, _length: int) -> None:
        if self.slots_free:
            runner.slot_given(peer)
        else:
            self.waiting_for_slots.add(peer)

    def is_waiting_for_slot(self, peer: PeerKey) -> bool:
        return peer in self.waiting_for_slots

    def end_slot(self, peer: PeerKey) -> None:
        self.waiting_for_slots.discard(peer)


class RecordedConnection:
    """A connection that writes down what is sent."""

    def __init__(self, key: int) -> None:
        self.key = PeerKey(key)
        self.name = f"peer-{key}"
        self.closed = self.encrypted = False
        self.payload_at = 0.0
        self.sent: list[wire.Message] = []
        self.pieces: list[PieceHeader] = []
        self.receiver: SwarmRunner | None = None

    def start(self) -> None: ...

    def resume(self) -> None: ...

    def when_still(self, then: Callable[[], None]) -> None:
        then()

    def send(self, *messages: wire.Message) -> None:
        self.sent += messages

    def send_piece(self, header: PieceHeader, _fd: int, _offset: int) -> None:
        self.pieces.append(header)

    def close(self, reason: str) -> None:
        if not self.closed and self.receiver is not None:
            self.closed = True
            self.receiver.connection_closed(cast("Connection", self), reason)

    def spans(self, kind: Kind) -> list[Span]:
        return [message for message in self.sent if isinstance(message, Span) and message.kind is kind]


class Stage:
    """A swarm of one blob, and peers that say what the test lets them say."""

    def __init__(self, host: RecordedHost, runner: SwarmRunner, blob: Blob) -> None:
        self.host, self.runner, self.blob = host, runner, blob
        self._keys = iter(range(1, 100))

    def peer(
        self, introduction: Introduction = KRAKEN, *, dialled: Address | None = None, fast: bool = True
    ) -> RecordedConnection:
        """A connection that has shaken hands, and has said nothing yet."""
        connection = RecordedConnection(next(self._keys))
        connection.receiver = self.runner
        peer_id = PeerId(bytes([connection.key]) * 20)
        peer = Peer(cast("Connection", connection), peer_id, Address("10.0.0.1", 1), introduction, dialled, fast)
        self.runner.attach(peer, ())
        return connection

    def say(self, connection: RecordedConnection, *messages: wire.Message) -> None:
        for message in messages:
            self.runner.message_arrived(cast("Connection", connection), message)

    def answer(self, connection: RecordedConnection, asked: Span) -> None:
        """The data of a request arrives."""
        with self.answering(connection, asked):
            pass

    @contextmanager
    def answering(self, connection: RecordedConnection, asked: Span) -> Iterator[None]:
        """Within the block the data of a request is under way."""
        header = PieceHeader(asked.piece, asked.begin, asked.length)
        place = self.runner.place_for(cast("Connection", connection), header)
        if place is not None:
            place[:] = self.blob.piece(PieceIndex(asked.piece))[asked.begin : asked.begin + asked.length]
        yield
        self.runner.block_arrived(cast("Connection", connection), header)

    def reject(self, connection: RecordedConnection, *asked: Span) -> None:
        self.say(connection, *(Span(Kind.REJECT, each.piece, each.begin, each.length) for each in asked))

    async def settled(self) -> None:
        """Everything in the background is done."""
        while len(self.host.tasks) or self.host.writing:
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # for the callbacks of the last one


@asynccontextmanager
async def a_swarm(pieces: int = 1, tail: int = 4 * STOCK_BLOCK) -> AsyncIterator[Stage]:
    """A swarm that wants its blob."""
    host, blob, threads = RecordedHost(), a_blob(pieces, tail=tail), FileThreads(1)
    store = CatalogBlobStore(MemoryMedium(), threads, SystemClock(), host.log, host.metrics)
    await store.start()
    with await store.partial(blob.metainfo) as held:
        runner = SwarmRunner(host, held, SwarmSettings(), random.Random(1))
    runner.demand(+1)
    try:
        yield Stage(host, runner, blob)
    finally:
        runner.close()
        await host.tasks.close()
        await store.close()
        threads.close()
        assert host.buffers.used_bytes == 0


async def test_a_stock_client_that_chokes_keeps_no_memory_and_may_reject_what_it_voids() -> None:
    async with a_swarm() as stage:
        stock = stage.peer(Introduction())
        stage.say(stock, Flag(Kind.HAVE_ALL), Flag(Kind.UNCHOKE))
        first, *others = stock.spans(Kind.REQUEST)
        stage.answer(stock, first)
        assert stage.host.buffers.used_bytes > 0

        stage.say(stock, Flag(Kind.CHOKE))
        assert stage.host.buffers.used_bytes == 0
        stage.reject(stock, *others)
        stock.sent.clear()
        stage.say(stock, Flag(Kind.UNCHOKE))

        assert stock.spans(Kind.REQUEST) == [first, *others]
        for asked in stock.spans(Kind.REQUEST):
            stage.answer(stock, asked)
        await stage.settled()
        assert stage.runner.engine.complete


async def test_a_piece_whose_blocks_are_rejected_one_by_one_is_asked_for_again_whole() -> None:
    async with a_swarm() as stage:
        stock = stage.peer(Introduction())
        stage.say(stock, Flag(Kind.HAVE_ALL), Flag(Kind.UNCHOKE))
        first, *others = stock.spans(Kind.REQUEST)
        stage.answer(stock, first)

        stage.reject(stock, *others)

        assert stage.host.buffers.used_bytes == 0
        with pytest.raises(PeerMisbehaved):
            stage.reject(stock, first)


async def test_what_was_withdrawn_holds_no_memory_and_leaves_no_trace_once_it_is_answered() -> None:
    async with a_swarm(pieces=2) as stage:
        stock = stage.peer(Introduction())
        stage.say(stock, wire.Have(0), Flag(Kind.UNCHOKE))
        first, second, *others = stock.spans(Kind.REQUEST)
        stage.answer(stock, first)

        with stage.answering(stock, second):
            stage.runner.feed(PieceVerified(None, PieceIndex(0)))
            assert stage.host.buffers.used_bytes > 0, "a block is being received into it"
        assert stage.host.buffers.used_bytes == 0
        assert stock.spans(Kind.CANCEL) == [
            Span(Kind.CANCEL, each.piece, each.begin, each.length) for each in [second, *others]
        ]
        stage.answer(stock, others[0])
        stage.reject(stock, *others[1:])

        assert stage.runner.peers[stock.key].assemblies == {}


async def test_a_piece_that_is_wanted_again_while_its_answer_is_read_past_is_asked_for_anew() -> None:
    async with a_swarm(pieces=2) as stage:
        bert = stage.peer()
        stage.say(bert, wire.Have(0))
        (asked,) = bert.spans(Kind.REQUEST)
        stage.runner.feed(PieceVerified(None, PieceIndex(0)))

        with stage.answering(bert, asked):
            stage.runner.feed(PieceLost(PieceIndex(0)))
            assert bert.spans(Kind.REQUEST) == [asked], "the peer has still to answer"

        assert stage.runner.peers[bert.key].assemblies == {}
        assert stage.runner.engine.next_deadline() is not None, "it is asked again after a rest"


async def test_a_dialled_peer_that_leaves_without_a_word_can_be_replaced() -> None:
    async with a_swarm() as stage:
        candidate = Candidate(Address("10.0.0.1", 1), Role.AGENT)
        stage.runner.feed(PeersOffered((candidate,)))
        assert stage.host.dialled == [candidate]
        silent = stage.peer(dialled=candidate.address)
        assert stage.host.needy == [stage.runner.swarm_id]

        stage.runner.feed(PeersOffered(()))
        silent.close("it was full after all")

        assert stage.host.needy == [stage.runner.swarm_id] * 2
        stage.runner.feed(PeersOffered((candidate,)))
        assert stage.host.dialled == [candidate] * 2


async def test_what_came_in_between_handshake_and_first_word_is_told_then() -> None:
    async with a_swarm(pieces=3) as stage:
        stage.runner.feed(PieceVerified(None, PieceIndex(2)))
        bert = stage.peer()
        stage.runner.feed(PieceVerified(None, PieceIndex(1)))
        bert.sent.clear()

        stage.say(bert, Flag(Kind.HAVE_NONE))

        assert bert.sent == [wire.Extended(1, wire.encode_have_batch(0, [1]))]


async def test_a_swarm_that_is_closed_looks_for_nobody() -> None:
    async with a_swarm() as stage:
        stage.say(stage.peer(), Flag(Kind.HAVE_NONE))
        stage.host.needy.clear()
        others = tuple(Candidate(Address("10.0.0.2", port), Role.ORIGIN) for port in range(1, 40))
        stage.runner.feed(PeersOffered(others))
        stage.host.dialled.clear()

        stage.runner.close()

        assert (stage.host.dialled, stage.host.needy) == ([], [])


async def test_a_piece_is_written_to_its_own_file_although_the_swarm_closes_under_it() -> None:
    async with a_swarm() as stage:
        bert = stage.peer()
        stage.say(bert, Flag(Kind.HAVE_ALL))
        stage.answer(bert, *bert.spans(Kind.REQUEST))

        stage.runner.close()

        assert stage.runner.blob.in_use
        await stage.settled()
        assert stage.runner.blob.held == 1
        assert not stage.runner.blob.in_use


async def test_a_client_without_the_fast_extension_is_told_nothing_of_it() -> None:
    async with a_swarm() as stage:
        plain = stage.peer(Introduction(), fast=False)

        stage.say(plain, Flag(Kind.INTERESTED), Span(Kind.REQUEST, 0, 0, 10))

        assert plain.sent[0] == wire.Bitfield(b"\0")
        assert plain.spans(Kind.REJECT) == []


async def test_the_engine_takes_stock_of_what_the_blob_gained_and_lost() -> None:
    async with a_swarm(pieces=2) as stage:
        blob = stage.runner.blob
        assert await blob.write_piece(PieceIndex(1), stage.blob.piece(PieceIndex(1)))
        stage.runner.feed(PieceVerified(None, PieceIndex(0)))

        stage.runner.take_stock()

        assert stage.runner.engine.held == blob.held == 0b10


async def test_what_waits_for_a_slot_is_sent_when_it_is_given_and_not_once_it_was_withdrawn() -> None:
    async with a_swarm(pieces=2) as stage:
        stage.runner.feed(PieceVerified(None, PieceIndex(0)))
        await stage.runner.blob.write_piece(PieceIndex(0), stage.blob.piece(PieceIndex(0)))
        stage.host.slots_free = False
        peer = stage.peer()
        stage.say(peer, Flag(Kind.HAVE_NONE))
        first, second = (Span(Kind.REQUEST, 0, at * STOCK_BLOCK, STOCK_BLOCK) for at in range(2))

        stage.say(peer, first, second, replace(first, kind=Kind.CANCEL))

        assert peer.spans(Kind.REJECT) == [replace(first, kind=Kind.REJECT)]
        assert peer.pieces == []
        assert stage.host.waiting_for_slots == {peer.key}
        stage.host.waiting_for_slots.clear()
        stage.runner.slot_given(peer.key)
        assert peer.pieces == [PieceHeader(0, STOCK_BLOCK, STOCK_BLOCK)]
        stage.say(peer, replace(second, kind=Kind.CANCEL))
        assert peer.spans(Kind.REJECT) == [replace(first, kind=Kind.REJECT)], "it is being sent"


async def test_a_peer_that_says_what_it_has_makes_the_host_share_out_requests_anew() -> None:
    async with a_swarm() as stage:
        stage.say(stage.peer(), Flag(Kind.HAVE_ALL))
        assert stage.host.appetite_changes == 1
        stage.runner.demand(-1)
        stage.say(stage.peer(), Flag(Kind.HAVE_ALL))
        assert stage.host.appetite_changes == 1
