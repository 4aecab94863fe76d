"""A node's peer port: listens, dials, shakes hands, and keeps the open swarms.

Origins and agents run the same node; an origin only seeds. A swarm that a peer asks for is opened from
the store when it comes, and closed when nobody has been connected for a while.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from itertools import count
from typing import Any, Protocol

from kraken.core.digest import Digest
from kraken.core.errors import BadConfig, Invalid, KrakenError
from kraken.core.metainfo import SwarmId
from kraken.core.peers import Address, PeerId, Role, peer_id
from kraken.observability.events import Event as LogEvent
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.p2p import wire
from kraken.p2p.connection_budget import Crew, givers, least_missed
from kraken.p2p.dialing import Candidate
from kraken.p2p.events import DialFailed
from kraken.p2p.handshake import HANDSHAKE_BYTES, KR_HAVE_ID, MAX_ZONE_BYTES, Handshake, Introduction
from kraken.p2p.io.buffers import BufferPool
from kraken.p2p.io.connection import Connection
from kraken.p2p.io.encryption import Encryption
from kraken.p2p.io.line import Line, socket_for
from kraken.p2p.io.runner import MAX_BLOCK, Peer, SwarmRunner
from kraken.p2p.io.shared_out import SharedOut
from kraken.p2p.ledger import PeerKey
from kraken.p2p.settings import PeerSettings, SwarmSettings, TlsMode
from kraken.p2p.suggestions import Lot
from kraken.runtime.bandwidth import Traffic
from kraken.runtime.tasks import Tasks
from kraken.storage.io.blob_file import BlobFile

_BACKLOG = 512
_SWEEP_SECONDS = 1.0
_ACCEPT_PAUSE_SECONDS = 1.0
_MAX_BANS = 10_000


class Shelf(Protocol):
    """Where a node finds the blob that a peer asks for."""

    async def open_swarm(self, swarm: SwarmId) -> BlobFile | None:
        """The blob, complete or partial, with a reference for the caller; None when it is not here."""
        ...


class PeerNode:
    """The peer port of one component, from `start` to `stop`."""

    def __init__(
        self,
        role: Role,
        shelf: Shelf,
        settings: PeerSettings,
        swarm_settings: SwarmSettings,
        log: Log,
        metrics: Metrics,
        *,
        zone: str = "",
        lots: Callable[[Digest], Lot] = lambda _digest: Lot(),
        traffic: Traffic | None = None,
        seed: int | None = None,
    ) -> None:
        """
        Args: lots, what of a blob falls to an origin; traffic, what it may move; seed, of all chance in this node;
        None takes it from the system.

        Raises: BadConfig, when the name of the zone is longer than peers take.
        """
        if len(zone.encode()) > MAX_ZONE_BYTES:
            raise BadConfig(f"zone: {zone!r} has {len(zone.encode())} bytes, and may have {MAX_ZONE_BYTES}")
        self._lots = lots
        self._traffic = traffic or Traffic()
        self.role = role
        self.zone = zone
        self.peer_id: PeerId = peer_id(os.urandom(12))
        self.metrics = metrics
        self.log = log
        self.tasks = Tasks(log, metrics)
        self.buffers = BufferPool(settings.buffer_bytes)
        self.runners: dict[SwarmId, SwarmRunner] = {}
        self.shares = SharedOut(self.runners, settings, swarm_settings, metrics)
        self.address = settings.listen
        self.on_peers_needed: Callable[[SwarmId], None] = lambda _swarm: None
        self._shelf = shelf
        self._settings = settings
        self._swarm_settings = swarm_settings
        self._introduction = Introduction(role, zone, MAX_BLOCK, KR_HAVE_ID)
        self._rng = random.Random(seed)
        self._keys = count(1)
        self._bans: OrderedDict[object, float] = OrderedDict()
        self._opening: dict[SwarmId, asyncio.Task[None]] = {}
        self._shaking = 0
        self._listener: socket.socket | None = None
        self._encryption = Encryption(settings, log, metrics)
        metrics.p2p_swarms.set_function(lambda: len(self.runners))

    async def start(self) -> None:
        """Listen. Raises: BadConfig, when the address cannot be had, or a certificate cannot be used."""
        self._encryption.load(self._settings)
        listen = self._settings.listen
        listener = socket_for(listen)
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((listen.bare_host, listen.port))
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            raise BadConfig(f"peer.listen: {listen} cannot be listened on: {error.strerror}") from error
        self._listener = listener
        self.address = Address(listen.host, listener.getsockname()[1])
        self._listen()
        self.tasks.spawn("sweep_peers", self._sweep())
        self.tasks.spawn("watch_certificate", self._encryption.watch_expiry())

    async def stop(self) -> None:
        """Close every connection and swarm."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None
        await self.tasks.close()
        for runner in list(self.runners.values()):
            runner.close()
        self.runners.clear()
        await self.shares.close()
        self._encryption.close()
        self.buffers.trim()

    def retune(self, settings: PeerSettings) -> None:
        """Read mode and certificates of TLS anew. Where TLS is required from now on, plain connections end."""
        self._encryption.load_again(settings)
        if self._encryption.mode is TlsMode.REQUIRED:
            for runner in list(self.runners.values()):
                for peer in list(runner.peers.values()):
                    if not peer.connection.encrypted:
                        peer.connection.close("TLS is required from now on")

    def join(self, blob: BlobFile) -> SwarmRunner:
        """The swarm of a blob, open for as long as `users` of it is not 0; the caller is counted as one."""
        runner = self._runner(blob)
        runner.users += 1
        return runner

    def leave(self, runner: SwarmRunner) -> None:
        """End `join`. The swarm stays open while peers are connected."""
        runner.users -= 1
        runner.empty_since = asyncio.get_running_loop().time()

    def close_unused(self) -> None:
        """Close the swarms that nobody here uses, whoever is connected; they open again when a peer comes."""
        for runner in list(self.runners.values()):
            if not runner.users:
                self.forget(runner.swarm_id)

    def forget(self, swarm: SwarmId) -> None:
        """The blob is being removed: close its swarm."""
        runner = self.runners.pop(swarm, None)
        if runner is not None:
            runner.close()

    def banned(self) -> list[str]:
        """Whom nothing is taken from now: ids in hex, and addresses."""
        now = asyncio.get_running_loop().time()
        current = [it for it, until in self._bans.items() if until > now]
        return [it.hex() if isinstance(it, bytes) else str(it) for it in current]

    # What swarms order (`Host`).

    def lot(self, digest: Digest) -> Lot | None:
        return self._lots(digest) if self.role is Role.ORIGIN else None

    def dial(self, runner: SwarmRunner, candidate: Candidate) -> None:
        self.tasks.spawn("dial", self._dial(runner, candidate))

    def ban(self, peer: Peer, reason: str) -> None:
        until = asyncio.get_running_loop().time() + self._settings.ban_seconds
        for identity in (peer.peer_id, peer.dialled):
            if identity is not None:
                self._bans[identity] = until
        while len(self._bans) > _MAX_BANS:
            self._bans.popitem(last=False)
        self.metrics.p2p_bans.labels(reason=reason.replace(" ", "_")).inc()
        self.log.warning(LogEvent.PEER_BANNED, peer=peer.connection.name, peer_id=peer.peer_id.hex(), reason=reason)

    def peers_needed(self, swarm: SwarmId) -> None:
        self.on_peers_needed(swarm)

    # How connections come to be.

    def _listen(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        assert self._listener is not None, "only a listener becomes readable"
        for _ in range(64):
            try:
                sock, remote = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # mostly that this process may open no more files; it stays readable meanwhile
                self.log.warning(LogEvent.CONNECTION_REFUSED, open=self._open(), limit=error.strerror)
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._listener.fileno())
                loop.call_later(_ACCEPT_PAUSE_SECONDS, self._listen)
                return
            if self._open() >= self._settings.max_connections + self._settings.at_the_door:
                sock.close()
                continue
            self.tasks.spawn("accept", self._accepted(Line(sock), Address(_printable(remote[0]), remote[1])))

    async def _accepted(self, line: Line, remote: Address) -> None:
        attached = False
        try:
            attached = await self._shake(remote, self._answer(line, remote))
        finally:
            if not attached:
                line.close()

    async def _answer(self, line: Line, remote: Address) -> bool:
        """The other side speaks first; then we, if the swarm is here and has room."""
        await self._encryption.answer(line)
        theirs = Handshake.decode(await line.receive_exactly(HANDSHAKE_BYTES))
        if theirs.peer == self.peer_id or self._banned(theirs.peer):
            return False
        runner = await self._find(theirs.swarm)
        if runner is None or not self._has_room(runner) or not self._has_place(runner):
            return False
        await line.send_all(Handshake(theirs.swarm, self.peer_id).encode())
        return self._attach(runner, line, theirs, remote, dialled=None)

    async def _dial(self, runner: SwarmRunner, candidate: Candidate) -> None:
        address = candidate.address
        attached = False
        if not self._banned(address) and self._has_place(runner):
            attached = await self._shake(address, self._call(runner, address))
        if not attached:
            runner.feed(DialFailed(address))

    async def _call(self, runner: SwarmRunner, address: Address) -> bool:
        """We speak first. Returns: whether the connection stands."""
        line = await self._encryption.dial(address)
        attached = False
        try:
            await line.send_all(Handshake(runner.swarm_id, self.peer_id).encode())
            theirs = Handshake.decode(await line.receive_exactly(HANDSHAKE_BYTES))
            if theirs.swarm == runner.swarm_id and theirs.peer != self.peer_id and not self._banned(theirs.peer):
                attached = self._attach(runner, line, theirs, address, dialled=address)
        finally:
            if not attached:
                line.close()
        return attached

    async def _shake(self, remote: Address, handshake: Coroutine[Any, Any, bool]) -> bool:
        """Run a handshake, that of TLS included, within its time. Returns: whether the connection stands."""
        self._shaking += 1
        try:
            async with asyncio.timeout(self._settings.handshake_seconds):
                return await handshake
        except (OSError, TimeoutError, EOFError, Invalid, KrakenError) as error:
            self._encryption.tell_refused(str(remote), error)
            return False
        finally:
            self._shaking -= 1

    def _attach(
        self, runner: SwarmRunner, line: Line, theirs: Handshake, address: Address, dialled: Address | None
    ) -> bool:
        if self.runners.get(runner.swarm_id) is not runner or not self._settle_double(runner, theirs.peer, dialled):
            return False
        if not self._make_place(runner):
            return False
        self._tune(line.sock)
        key, transport = PeerKey(next(self._keys)), self._encryption.transport(line)
        connection = Connection(key, str(address), transport, runner.limits, runner, self._traffic)
        peer = Peer(connection, theirs.peer, address, Introduction(), dialled, theirs.fast)
        greeting = (wire.Extended(0, self._introduction.encode()),) if theirs.extended else ()
        runner.attach(peer, greeting)
        return not connection.closed

    def _tune(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._settings.congestion_control:
            with suppress(OSError):  # this kernel does not have it, and then its own will do
                name = self._settings.congestion_control.encode()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name)

    def _settle_double(self, runner: SwarmRunner, other: PeerId, dialled: Address | None) -> bool:
        """Whether a new connection is to be kept, if there is one with the same peer already.

        When two peers dial each other at once, both keep the one that the lower peer id dialled.
        """
        for peer in list(runner.peers.values()):
            if peer.peer_id == other:
                new_dialler = self.peer_id if dialled is not None else other
                old_dialler = self.peer_id if peer.dialled is not None else other
                if new_dialler == old_dialler or new_dialler > old_dialler:
                    return False
                peer.connection.close("connected twice")
        return True

    async def _find(self, swarm: SwarmId) -> SwarmRunner | None:
        """The swarm, opened from the shelf if need be; peers that ask at once share the opening."""
        if swarm in self.runners:
            return self.runners[swarm]
        opening = self._opening.get(swarm)
        if opening is None:
            opening = self.tasks.spawn("open_swarm", self._open_from_shelf(swarm))
            self._opening[swarm] = opening
            opening.add_done_callback(lambda _: self._opening.pop(swarm))
        await asyncio.shield(opening)
        return self.runners.get(swarm)

    async def _open_from_shelf(self, swarm: SwarmId) -> None:
        try:
            blob = await self._shelf.open_swarm(swarm)
        except KrakenError as error:
            self.log.debug(LogEvent.PEER_REFUSED, error=str(error))
            return
        if blob is not None:
            with blob:
                self._runner(blob)

    def _runner(self, blob: BlobFile) -> SwarmRunner:
        swarm = blob.metainfo.swarm
        runner = self.runners.get(swarm)
        if runner is not None and runner.blob is not blob:  # the blob was removed, and has come back since
            self.forget(swarm)
            runner = None
        if runner is None:
            seed = self._rng.getrandbits(64)
            runner = self.runners[swarm] = SwarmRunner(self, blob, self._swarm_settings, random.Random(seed))
            self._close_longest_idle()
        return runner

    def _close_longest_idle(self) -> None:
        """Keep the number of blobs that are open for peers alone within its bound; the newest has moved last."""
        seeded = [runner for runner in self.runners.values() if not runner.users]
        if len(seeded) > self._settings.max_seeded:
            self.forget(min(seeded, key=SwarmRunner.idleness).swarm_id)

    def _has_room(self, runner: SwarmRunner) -> bool:
        return len(runner.peers) < self._swarm_settings.accept

    def _open(self) -> int:
        return self._shaking + self._connected()

    def _connected(self) -> int:
        return sum(len(runner.peers) for runner in self.runners.values())

    def _has_place(self, runner: SwarmRunner) -> bool:
        """Whether a further connection of a swarm is worth its handshake."""
        return self._connected() < self._settings.max_connections or self._to_be_closed_for(runner) is not None

    def _make_place(self, runner: SwarmRunner) -> bool:
        """Close the connection that matters least, if there has to be a place; whether there is one now."""
        if self._connected() < self._settings.max_connections:
            return True
        peer = self._to_be_closed_for(runner)
        if peer is None:
            return False
        peer.connection.close("another swarm needs the connection more")
        self.metrics.p2p_connections_displaced.inc()
        return True

    def _to_be_closed_for(self, runner: SwarmRunner) -> Peer | None:
        others = [_crew(other) for other in self.runners.values() if other is not runner]
        for swarm in givers(_crew(runner), others):
            peers = self.runners[swarm].peers
            least = least_missed(peer.link() for peer in peers.values())
            if least is not None:
                return peers[least]
        return None

    def _banned(self, identity: PeerId | Address) -> bool:
        return self._bans.get(identity, 0.0) > asyncio.get_running_loop().time()

    # What time does.

    async def _sweep(self) -> None:
        """Close what stalls or idles, keep the rest alive, share out requests anew, and return idle memory."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = asyncio.get_running_loop().time()
            for runner in list(self.runners.values()):
                for peer in list(runner.peers.values()):
                    self._look_after(peer.connection, now)
                lingered = now - runner.empty_since > self._swarm_settings.linger_seconds
                if not runner.peers and not runner.users and lingered:
                    self.forget(runner.swarm_id)
            if not self.buffers.used_bytes:
                self.buffers.trim()
            self.shares.demand_changed()

    def _look_after(self, connection: Connection, now: float) -> None:
        settings = self._settings
        connection.look(now)
        if connection.sending and now - connection.sent_at > settings.stall_seconds:
            connection.close("takes no data")
        elif now - connection.received_at > settings.idle_seconds and now - connection.sent_at > settings.stall_seconds:
            connection.close("idle")
        elif now - connection.sent_at > settings.idle_seconds / 3 and not connection.sending:
            connection.keep_alive()


def _crew(runner: SwarmRunner) -> Crew:
    return Crew(runner.swarm_id, runner.priority is not None, len(runner.peers))


def _printable(host: str) -> str:
    return f"[{host.partition('%')[0]}]" if ":" in host else host
