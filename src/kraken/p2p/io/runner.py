"""The driver of one swarm: carries events to the engine, and orders to sockets and disk.

Everything here runs on the loop and never waits: what takes time (hashing, writing, checking a piece
before it is served) is a task that comes back as an event.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, assert_never

from kraken.core.digest import Digest
from kraken.core.errors import Invalid, KrakenError, PeerMisbehaved, Unavailable
from kraken.core.metainfo import SwarmId
from kraken.core.peers import Address, PeerId, Role
from kraken.core.pieces import MIB, PieceIndex
from kraken.observability.events import Event as LogEvent
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.p2p import bitfield, wire
from kraken.p2p.connection_budget import Link
from kraken.p2p.dialing import Candidate, Dial
from kraken.p2p.events import (
    Action,
    AskPiece,
    AskTracker,
    BanPeer,
    BytesArrived,
    ClosePeer,
    DemandChanged,
    DialFailed,
    Event,
    PeerChoked,
    PeerHas,
    PeerJoined,
    PeerLeft,
    PieceCorrupt,
    PieceDropped,
    PieceLost,
    PiecesSuggested,
    PieceVerified,
    RequestRejected,
    SpanRequested,
    SpanSent,
    SpanWithdrawn,
    SuggestPieces,
    TellHave,
    Tick,
    WithdrawAsk,
)
from kraken.p2p.handshake import KR_HAVE_ID, STOCK_BLOCK, Introduction
from kraken.p2p.io.buffers import Buffer, BufferPool
from kraken.p2p.io.connection import Connection
from kraken.p2p.io.write_turns import Write
from kraken.p2p.ledger import PeerKey
from kraken.p2p.priority import Priority
from kraken.p2p.settings import SwarmSettings
from kraken.p2p.suggestions import Lot
from kraken.p2p.swarm import Swarm
from kraken.p2p.upload_slots import BlockSpan, RejectSpan, SendSpan
from kraken.p2p.wire import FrameLimits, Kind
from kraken.runtime.tasks import Tasks
from kraken.storage.io.blob_file import BlobFile

MAX_BLOCK = 16 * MIB
"""Bytes of the longest request that we answer to a Kraken peer: the longest piece there is."""

MAX_STOCK_BLOCK = 128 * 1024
"""Bytes of the longest request of a stock client; beyond this they close the connection themselves."""

_MAX_ASKED = 512  # requests of one peer that it has not yet been answered, before it is a flood


@dataclass(slots=True)
class _Assembly:
    """A piece on its way in: the blocks that are still to come, by where they begin, and how long they are.

    `filling`: a block is being received into the buffer, which must therefore stay for now.
    """

    missing: dict[int, int]
    buffer: Buffer | None = None
    wanted: bool = True
    filling: bool = False


@dataclass(slots=True)
class Peer:
    """A peer of this swarm: its connection, and what is between it and us."""

    connection: Connection
    peer_id: PeerId
    address: Address
    introduction: Introduction
    dialled: Address | None
    fast: bool = True  # BEP 6
    assemblies: dict[PieceIndex, _Assembly] = field(default_factory=dict)
    told_payload_at: float = 0.0
    told_held: int = 0
    """The pieces that it was told of when it came; the engine tells it of others once it has joined."""
    asked: int = 0
    due: BlockSpan | None = None
    """What is to be sent next, once the node has a slot for it, or is being sent."""
    joined: bool = False
    since: float = 0.0
    received_bytes: int = 0
    sent_bytes: int = 0
    sent_at: float = 0.0
    """When a piece, or part of one, had last been sent."""

    @property
    def block(self) -> int:
        """Bytes that one request to this peer may ask for."""
        return min(self.introduction.max_block, MAX_BLOCK) if self.introduction.is_kraken else STOCK_BLOCK

    def link(self) -> Link:
        """The connection, as the budget of connections sees it."""
        busy = bool(self.asked or self.assemblies or self.due or self.connection.sending)
        return Link(self.connection.key, busy, max(self.since, self.connection.payload_at, self.sent_at))


class Shares(Protocol):
    """What the swarms of a node share out among them, as each of them sees it."""

    def demand_changed(self) -> None:
        """A swarm wants pieces, or no longer, or with another priority: share out what may be asked of peers."""
        ...

    def appetite_changed(self) -> None:
        """A swarm could ask for more: share out soon what may be asked of peers."""
        ...

    def rank(self, runner: SwarmRunner) -> int:
        """Where what comes in for the swarm stands among what comes in for others; 0 goes first."""
        ...

    def write(self, runner: SwarmRunner, write: Write, size: int) -> None:
        """Have a piece hashed and written when it is the swarm's turn. Args: size, its bytes."""
        ...

    def ask_slot(self, runner: SwarmRunner, peer: PeerKey, length: int) -> None:
        """Something is to be sent to the peer; `runner.slot_given` is called when it may, perhaps at once.

        Args: length, its bytes.
        """
        ...

    def is_waiting_for_slot(self, peer: PeerKey) -> bool:
        """Whether a slot was asked for and is not given yet."""
        ...

    def end_slot(self, peer: PeerKey) -> None:
        """The peer's slot is free, or is not waited for any more. Without one, nothing happens."""
        ...


class Host(Protocol):
    """The node that a swarm runs on, as the swarm sees it."""

    peer_id: PeerId
    zone: str
    metrics: Metrics
    log: Log
    tasks: Tasks
    buffers: BufferPool

    @property
    def shares(self) -> Shares: ...

    def lot(self, digest: Digest) -> Lot | None:
        """What of a blob falls to this node as one of its origins; None for an agent."""
        ...

    def dial(self, runner: SwarmRunner, candidate: Candidate) -> None:
        """Connect; the outcome comes as `attach` or `dial_failed`."""
        ...

    def ban(self, peer: Peer, reason: str) -> None:
        """Keep this peer out for a while."""
        ...

    def peers_needed(self, swarm: SwarmId) -> None:
        """The swarm has too few peers."""
        ...


class SwarmRunner:
    """One open swarm of a node."""

    def __init__(self, host: Host, blob: BlobFile, settings: SwarmSettings, rng: random.Random) -> None:
        """Takes its own reference on `blob`, given back by `close`."""
        blob.acquire()
        self.blob = blob
        self.swarm_id = blob.metainfo.swarm
        metainfo = blob.metainfo
        self.engine = Swarm(
            host.peer_id, metainfo.pieces, settings, rng, blob.held, host.zone, host.lot(metainfo.digest)
        )
        self.peers: dict[PeerKey, Peer] = {}
        self.users = 0
        self.empty_since = asyncio.get_running_loop().time()
        self.failure: KrakenError | None = None
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[Event] = deque()
        self._running = False
        self._demand = 0
        self._priority = Priority.INTERACTIVE
        self._timer: asyncio.TimerHandle | None = None
        self._listeners: list[Callable[[PieceIndex, Role | None, int], None]] = []
        self._closed = False
        metrics = host.metrics
        self._received = {role: metrics.p2p_bytes.labels(direction="in", role=role.value) for role in Role}
        self._sent = {role: metrics.p2p_bytes.labels(direction="out", role=role.value) for role in Role}
        results = ("verified", "duplicate", "corrupt")
        self._pieces = {result: metrics.p2p_pieces.labels(result=result) for result in results}
        pieces = blob.metainfo.pieces
        self.limits = FrameLimits(bitfield=-(-pieces.count // 8), piece=min(pieces.piece_length, max(pieces.length, 1)))

    # For the node and for downloads.

    def feed(self, *events: Event) -> None:
        """Let the engine take in events, and do what it orders. Safe to call from within an order."""
        if self._closed:
            return
        self._inbox.extend(events)
        if self._running:
            return
        self._running = True
        try:
            while self._inbox:
                for action in self.engine.handle(self._inbox.popleft(), self._loop.time()):
                    self._perform(action)
        finally:
            self._running = False
        self._set_timer()

    def demand(self, change: int) -> None:
        """One more (+1) or one less (-1) wants the blob; pieces are fetched while anybody does."""
        before, self._demand = self._demand, self._demand + change
        if not before:
            self.failure = None  # there may be room again
        if bool(before) != bool(self._demand):
            self._host.shares.demand_changed()  # first, for what it wants is asked for at once
            self.feed(DemandChanged(wanted=bool(self._demand)))

    @property
    def priority(self) -> Priority | None:
        """How urgently the blob is fetched; None while it is not."""
        return self._priority if self._demand else None

    def prioritize(self, priority: Priority) -> None:
        """Fetch the blob with this priority from now on."""
        if priority is not self._priority:
            self._priority = priority
            self._host.shares.demand_changed()

    def take_stock(self) -> None:
        """Let the engine know what the blob holds, after that may have changed by other means than this swarm."""
        lost, found = self.engine.held & ~self.blob.held, self.blob.held & ~self.engine.held
        self.feed(*map(PieceLost, bitfield.members(lost)))
        self.feed(*(PieceVerified(None, piece) for piece in bitfield.members(found)))

    @property
    def payload_at(self) -> float:
        """When data of a piece last came from a peer that is still here; loop time, 0.0 for never."""
        return max((peer.connection.payload_at for peer in self.peers.values()), default=0.0)

    def idleness(self) -> tuple[bool, float]:
        """Orders swarms, the one that is missed least first: whether anything is under way, and when it last was."""
        links = [peer.link() for peer in self.peers.values()]
        return any(link.busy for link in links), max((link.moved_at for link in links), default=self.empty_since)

    def listen(self, listener: Callable[[PieceIndex, Role | None, int], None]) -> None:
        """Call with each piece that becomes held: its number, the sender's role, its bytes."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[PieceIndex, Role | None, int], None]) -> None:
        """End `listen`."""
        self._listeners.remove(listener)

    def attach(self, peer: Peer, greeting: tuple[wire.Message, ...]) -> None:
        """A connection that has shaken hands joins; what we hold is told, and reading begins."""
        self.peers[peer.connection.key] = peer
        peer.since = self.now()
        self._host.metrics.p2p_peers.inc()
        if peer.connection.encrypted:
            self._host.metrics.p2p_peers_encrypted.inc()
        held, count = self.engine.held, self.blob.metainfo.pieces.count
        peer.told_held = held
        opening: wire.Message
        if self.engine.complete and peer.fast:
            opening = wire.Flag(Kind.HAVE_ALL)
        elif held == 0 and peer.fast:
            opening = wire.Flag(Kind.HAVE_NONE)
        else:
            opening = wire.Bitfield(bitfield.to_wire(held, count))
        peer.connection.send(*greeting, opening)
        if not peer.connection.closed:
            peer.connection.start()

    def slot_given(self, key: PeerKey) -> None:
        """What waited to be sent to the peer may be sent now."""
        peer = self.peers.get(key)
        if peer is not None and peer.due is not None:
            self._serve(peer, peer.due)

    def now(self) -> float:
        """The time of the loop, in seconds."""
        return self._loop.time()

    def close(self) -> None:
        """End all connections and give the blob back."""
        if self._closed:
            return
        self._closed = True  # first: who leaves now is not to be replaced
        for peer in list(self.peers.values()):
            peer.connection.close("the swarm is closed here")
        if self._timer is not None:
            self._timer.cancel()
        self.blob.release()

    # For connections (`Receiver`).

    def message_arrived(self, connection: Connection, message: wire.Message) -> None:
        peer = self.peers[connection.key]
        if isinstance(message, wire.Extended):
            self._extended(peer, message)
            return
        self._join(peer)
        match message:
            case wire.Flag(kind):
                self._flag(peer, kind)
            case wire.Have(piece):
                self.feed(PeerHas(connection.key, 1 << self._index(peer, piece)))
            case wire.Bitfield(payload):
                self._has(peer, self._admitted_bitfield(payload))
            case wire.Span():
                self._span(peer, message)
            case wire.Hint(Kind.SUGGEST, piece):
                self.feed(PiecesSuggested(connection.key, 1 << self._index(peer, piece)))
            case wire.Hint() | wire.PieceHeader():
                pass

    def place_for(self, connection: Connection, header: wire.PieceHeader) -> memoryview | None:
        peer = self.peers[connection.key]
        piece = self._index(peer, header.piece)
        assembly = peer.assemblies.get(piece)
        if assembly is None or assembly.missing.get(header.begin) != header.length:
            raise PeerMisbehaved(f"piece {header.piece}, {header.length} bytes at {header.begin}, was not asked for")
        if not assembly.wanted:
            return None
        if assembly.buffer is None:
            rank = self._host.shares.rank(self)
            assembly.buffer = self._host.buffers.take(self.blob.metainfo.pieces.size(piece), rank)
            if assembly.buffer is None:
                self._host.buffers.when_free(connection.resume, rank)
                raise BlockingIOError
        assembly.filling = True
        return assembly.buffer.view[header.begin : header.begin + header.length]

    def block_arrived(self, connection: Connection, header: wire.PieceHeader) -> None:
        peer = self.peers[connection.key]
        piece = PieceIndex(header.piece)
        assembly = peer.assemblies[piece]
        kept, assembly.filling = assembly.filling, False
        del assembly.missing[header.begin]
        peer.received_bytes += header.length
        self._received[peer.introduction.role].inc(header.length)
        if not assembly.missing:
            del peer.assemblies[piece]
        if not assembly.wanted:
            self._empty(assembly)
        elif not kept:  # it was asked for again while what was no longer wanted was being read past
            self._give_up(assembly)
            self.feed(RequestRejected(connection.key, piece))
        elif not assembly.missing:
            buffer, assembly.buffer = assembly.buffer, None
            assert buffer is not None, "the last block went into a buffer"
            self._store(peer, piece, buffer)

    def span_sent(self, connection: Connection) -> None:
        peer = self.peers[connection.key]
        peer.sent_at = self.now()
        self._end_span(peer)

    def connection_closed(self, connection: Connection, reason: str) -> None:
        peer = self.peers.pop(connection.key)
        for assembly in peer.assemblies.values():
            assembly.filling = False
            connection.when_still(partial(self._empty, assembly))
        peer.assemblies.clear()
        self._host.shares.end_slot(connection.key)
        self._host.metrics.p2p_peers.dec()
        if connection.encrypted:
            self._host.metrics.p2p_peers_encrypted.dec()
        self._host.log.debug(LogEvent.PEER_LEFT, peer=connection.name, reason=reason)
        if not self.peers:
            self.empty_since = self._loop.time()
        if peer.dialled is not None and not peer.joined:
            self.feed(DialFailed(peer.dialled))
        self.feed(PeerLeft(connection.key))

    # What messages mean.

    def _join(self, peer: Peer) -> None:
        """The engine learns of a peer with the first message that says what it is."""
        if not peer.joined:
            peer.joined = True
            stock = () if peer.introduction.is_kraken else (wire.Flag(Kind.UNCHOKE), wire.Flag(Kind.INTERESTED))
            peer.connection.send(*stock)
            about = peer.introduction
            self.feed(
                PeerJoined(
                    peer.connection.key,
                    peer.peer_id,
                    about.role,
                    about.is_kraken,
                    peer.dialled,
                    peer.told_held,
                    about.zone,
                )
            )

    def _extended(self, peer: Peer, message: wire.Extended) -> None:
        if message.extended_id == 0:
            if not peer.joined:
                peer.introduction = Introduction.decode(message.payload)
                self._join(peer)
        elif message.extended_id == KR_HAVE_ID:
            self._join(peer)
            waiting, numbers = wire.decode_have_batch(message.payload)
            pieces = 0
            for number in numbers:
                pieces |= 1 << self._index(peer, number)
            self.feed(PeerHas(peer.connection.key, pieces, waiting))

    def _flag(self, peer: Peer, kind: Kind) -> None:
        key = peer.connection.key
        if kind is Kind.HAVE_ALL:
            self._has(peer, bitfield.everything(self.blob.metainfo.pieces.count))
        elif kind in (Kind.CHOKE, Kind.UNCHOKE):
            if kind is Kind.CHOKE:
                self._choked(peer)
            self.feed(PeerChoked(key, kind is Kind.CHOKE))

    def _has(self, peer: Peer, pieces: int) -> None:
        """A peer says all that it has."""
        self.feed(PeerHas(peer.connection.key, pieces))
        if self._demand:
            self._host.shares.appetite_changed()

    def _choked(self, peer: Peer) -> None:
        """Source: BEP 6: a peer that speaks it rejects each request that a choke voids; BEP 3: others say nothing."""
        for assembly in list(peer.assemblies.values()):
            self._give_up(assembly)
        if not peer.fast:
            peer.assemblies.clear()

    def _span(self, peer: Peer, message: wire.Span) -> None:
        piece = self._index(peer, message.piece)
        longest = MAX_BLOCK if peer.introduction.is_kraken else MAX_STOCK_BLOCK
        if not 0 < message.length <= longest or message.begin + message.length > self.blob.metainfo.pieces.size(piece):
            raise PeerMisbehaved(f"{peer.connection.name} sent {message!r}, which is outside of the piece")
        span = BlockSpan(piece, message.begin, message.length)
        if message.kind is Kind.REQUEST:
            peer.asked += 1
            if peer.asked > _MAX_ASKED:
                raise PeerMisbehaved(f"{peer.connection.name} has more than {_MAX_ASKED} requests open")
            self.feed(SpanRequested(peer.connection.key, span))
        elif message.kind is Kind.CANCEL:
            self._withdrawn(peer, span)
        else:
            self._rejected(peer, span)

    def _withdrawn(self, peer: Peer, span: BlockSpan) -> None:
        """The peer no longer wants it. What the engine has ordered already can be stopped while it waits for a slot."""
        if peer.due == span and self._host.shares.is_waiting_for_slot(peer.connection.key):
            self._reject(peer, span)
            self._end_span(peer)
        else:
            self.feed(SpanWithdrawn(peer.connection.key, span))

    def _rejected(self, peer: Peer, span: BlockSpan) -> None:
        """Without one of its blocks a piece is of no use; the others come, or are rejected one by one."""
        assembly = peer.assemblies.get(span.piece)
        if assembly is None or assembly.missing.get(span.begin) != span.length:
            raise PeerMisbehaved(f"{peer.connection.name} rejected {span!r}, which was not asked of it")
        del assembly.missing[span.begin]
        if not assembly.missing:
            del peer.assemblies[span.piece]
        if assembly.wanted:
            self._give_up(assembly)
            self.feed(RequestRejected(peer.connection.key, span.piece))

    def _index(self, peer: Peer, number: int) -> PieceIndex:
        try:
            return self.blob.metainfo.pieces.index(number)
        except Invalid as error:
            raise PeerMisbehaved(f"{peer.connection.name} spoke of {error}") from error

    def _admitted_bitfield(self, payload: bytes) -> int:
        return bitfield.from_wire(payload, self.blob.metainfo.pieces.count)

    # What the engine orders.

    def _perform(self, action: Action) -> None:
        match action:
            case Dial(candidate):
                self._host.dial(self, candidate)
            case AskTracker():
                self._host.peers_needed(self.swarm_id)
            case TellHave(peers, pieces, waiting):
                self._tell_have(peers, list(bitfield.members(pieces)), waiting)
            case _:
                peer = self.peers.get(action.peer)
                if peer is not None:
                    self._perform_on(peer, action)

    def _perform_on(
        self, peer: Peer, action: AskPiece | WithdrawAsk | SendSpan | RejectSpan | SuggestPieces | ClosePeer | BanPeer
    ) -> None:
        match action:
            case AskPiece(_, piece):
                self._ask(peer, piece)
            case WithdrawAsk(_, piece):
                self._withdraw(peer, piece)
            case SendSpan(_, span):
                peer.due = span
                self._host.shares.ask_slot(self, peer.connection.key, span.length)
            case RejectSpan(_, span):
                self._reject(peer, span)
            case SuggestPieces(_, pieces):
                if peer.fast:
                    peer.connection.send(*(wire.Hint(Kind.SUGGEST, piece) for piece in bitfield.members(pieces)))
            case ClosePeer(_, reason):
                peer.connection.close(reason)
            case BanPeer(_, piece):
                self._host.ban(peer, "corrupt piece")
                peer.connection.close(f"sent a corrupt piece {piece}")
            case _:
                assert_never(action)

    def _ask(self, peer: Peer, piece: PieceIndex) -> None:
        size = self.blob.metainfo.pieces.size(piece)
        assembly = peer.assemblies.setdefault(piece, _Assembly({}))
        blocks = {
            begin: min(peer.block, size - begin)
            for begin in range(0, size, peer.block)
            if begin not in assembly.missing  # one that we gave up, and that the peer has still to answer
        }
        assembly.missing |= blocks
        assembly.wanted = True
        peer.connection.send(*(wire.Span(Kind.REQUEST, piece, begin, length) for begin, length in blocks.items()))

    def _withdraw(self, peer: Peer, piece: PieceIndex) -> None:
        assembly = peer.assemblies.get(piece)
        if assembly is not None and assembly.wanted:
            self._give_up(assembly)
            blocks = assembly.missing.items()
            peer.connection.send(*(wire.Span(Kind.CANCEL, piece, begin, length) for begin, length in blocks))

    def _reject(self, peer: Peer, span: BlockSpan) -> None:
        peer.asked -= 1
        self._host.metrics.p2p_requests_rejected.inc()
        if peer.fast:
            peer.connection.send(wire.Span(Kind.REJECT, span.piece, span.begin, span.length))

    def _tell_have(self, keys: tuple[PeerKey, ...], numbers: list[PieceIndex], waiting: int) -> None:
        plain = tuple(wire.Have(number) for number in numbers)
        batches = [
            wire.encode_have_batch(waiting, list(numbers[at : at + wire.HAVE_BATCH]))
            for at in range(0, len(numbers), wire.HAVE_BATCH)
        ]
        for key in keys:
            peer = self.peers.get(key)
            if peer is None:
                continue
            have_id = peer.introduction.have_id
            told = tuple(wire.Extended(have_id, batch) for batch in batches) if have_id else plain
            peer.connection.send(*told)

    def _give_up(self, assembly: _Assembly) -> None:
        """The piece is no longer wanted of this peer; what of it still comes is read past."""
        assembly.wanted = False
        if not assembly.filling:
            self._empty(assembly)

    def _empty(self, assembly: _Assembly) -> None:
        buffer, assembly.buffer = assembly.buffer, None
        if buffer is not None:
            self._host.buffers.give_back(buffer)

    # What takes time.

    def _in_background(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` with a reference on the blob: its descriptor must not close before, even if the swarm does."""
        self.blob.acquire()
        self._host.tasks.spawn(name, work).add_done_callback(lambda _: self.blob.release())

    def _store(self, peer: Peer, piece: PieceIndex, buffer: Buffer) -> None:
        """Hash and write a piece, with a reference on the blob; by callbacks, which cost half of what a task does."""
        self.blob.acquire()
        begin = partial(self.blob.start_write, piece, buffer.view)
        self._host.shares.write(self, Write(begin, partial(self._stored, peer, piece, buffer)), len(buffer.view))

    def _stored(self, peer: Peer, piece: PieceIndex, buffer: Buffer, outcome: asyncio.Future[bool]) -> None:
        """The piece has been hashed, and written if it is good; the outcome is cancelled when the node stops."""
        size = len(buffer.view)
        self._host.buffers.give_back(buffer)
        try:
            if outcome.cancelled():
                return
            error = outcome.exception()
            if error is None:
                self._settle(peer, piece, size, good=outcome.result())
            else:
                self._drop(peer, piece, error)
        finally:
            self.blob.release()

    def _drop(self, peer: Peer, piece: PieceIndex, error: BaseException) -> None:
        """A piece could not be written: the disk is full, or broken."""
        about = f"piece {piece} of {self.blob.metainfo.digest} cannot be kept: {error}"
        self.failure = error if isinstance(error, KrakenError) else Unavailable(about)
        self.feed(PieceDropped(peer.connection.key, piece))
        self._tell_listeners(piece, None, 0)

    def _settle(self, peer: Peer, piece: PieceIndex, size: int, *, good: bool) -> None:
        key = peer.connection.key
        if good:
            new = not self.engine.held >> piece & 1
            self._pieces["verified" if new else "duplicate"].inc()
            self.feed(PieceVerified(key, piece))
            if new:
                self._tell_listeners(piece, peer.introduction.role, size)
        else:
            self._pieces["corrupt"].inc()
            digest = str(self.blob.metainfo.digest)
            self._host.log.warning(LogEvent.PIECE_CORRUPT, digest=digest, piece=int(piece), source=peer.connection.name)
            if key not in self.peers:
                self._host.ban(peer, "corrupt piece")  # it left in the meantime; that does not save it
            self.feed(PieceCorrupt(key, piece))

    def _serve(self, peer: Peer, span: BlockSpan) -> None:
        """Send part of a piece, which is checked on our own disk first, unless it has been already."""
        if self.blob.is_verified(span.piece):
            self._send(peer, span)
        else:
            self._in_background("serve_piece", self._check_and_serve(peer, span))

    async def _check_and_serve(self, peer: Peer, span: BlockSpan) -> None:
        if await self.blob.verify(span.piece):
            self._send(peer, span)
        else:
            self._reject(peer, span)
            self.feed(PieceLost(span.piece))
            self._end_span(peer)

    def _end_span(self, peer: Peer) -> None:
        """What was to be sent to the peer has been, or will never be."""
        peer.due = None
        self._host.shares.end_slot(peer.connection.key)
        self.feed(SpanSent(peer.connection.key))

    def _send(self, peer: Peer, span: BlockSpan) -> None:
        if not peer.connection.closed:
            peer.asked -= 1
            peer.sent_bytes += span.length
            self._sent[peer.introduction.role].inc(span.length)
            offset = self.blob.metainfo.pieces.start(span.piece) + span.begin
            peer.connection.send_piece(wire.PieceHeader(span.piece, span.begin, span.length), self.blob.fd, offset)

    def _tell_listeners(self, piece: PieceIndex, role: Role | None, size: int) -> None:
        for listener in list(self._listeners):
            listener(piece, role, size)

    def _set_timer(self) -> None:
        """Let `_tick` come by the engine's deadline; one that comes too early does no harm."""
        deadline = self.engine.next_deadline()
        if deadline is None or self._closed:
            return
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        """Time has passed; first of all the engine hears who sent something in it."""
        self._timer = None
        heard = [peer for peer in self.peers.values() if peer.connection.payload_at > peer.told_payload_at]
        for peer in heard:
            peer.told_payload_at = peer.connection.payload_at
        self.feed(*(BytesArrived(peer.connection.key, peer.told_payload_at) for peer in heard), Tick())
