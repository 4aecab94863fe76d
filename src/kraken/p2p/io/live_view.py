"""What a node knows of its swarms at this moment, as data for people and consoles. Read only.

GET /swarms                the open swarms, each in a line; ?limit=N of them
GET /swarms/{digest}       one of them, with its neighbours
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, pairwise

import msgspec
from aiohttp import web

from kraken.core.digest import Digest
from kraken.core.errors import Invalid, NotFound, Rejected
from kraken.p2p.io.node import PeerNode
from kraken.p2p.io.runner import Peer, SwarmRunner
from kraken.runtime.web import json_response

MAX_LISTED = 1000
"""Swarms that one view names."""


class SwarmLine(msgspec.Struct, frozen=True):
    """One open swarm among all. `held` of its `pieces` are here; `used`, whether somebody here reads it.

    `priority`, how urgently it is fetched, None while it is not; `allowance`, the pieces that may be asked for at once
    while other swarms fetch as well, None without such a limit.
    """

    swarm: str
    digest: str
    size: int
    pieces: int
    held: int
    used: bool
    neighbours: int
    priority: str | None
    allowance: int | None


class NodeView(msgspec.Struct, frozen=True):
    """The open swarms of a node, and whom it has banned: ids and addresses."""

    peer_id: str
    swarm_count: int
    banned: list[str]
    swarms: list[SwarmLine]


class NeighbourView(msgspec.Struct, frozen=True):
    """A connected peer: what it holds, what is between it and us, and how it has done.

    `waiting`, requests in its queue as it last said; `asked`, pieces that we have asked of it and not got; `late`, it
    owes one for too long; `seconds_a_piece`, from request to piece, smoothed, None while it has sent none;
    `received_bytes` and `sent_bytes`, payload since it is connected; `encrypted`, it is connected over TLS.
    """

    peer_id: str
    address: str
    role: str
    zone: str
    kraken: bool
    held: int
    waiting: int
    asked: int
    late: bool
    seconds_a_piece: float | None
    connected_seconds: float
    received_bytes: int
    sent_bytes: int
    encrypted: bool


class SwarmView(msgspec.Struct, frozen=True):
    """One open swarm. `availability[n]` is how many of the pieces that are missing here n neighbours hold.

    `requested`, the pieces that neighbours were asked for; the others as in `SwarmLine`.
    """

    swarm: str
    digest: str
    size: int
    piece_length: int
    pieces: int
    held: int
    used: bool
    priority: str | None
    allowance: int | None
    requested: int
    availability: list[int]
    neighbours: list[NeighbourView]


def add_live_view(app: web.Application, node: PeerNode) -> None:
    """Add the routes of the live view to an application."""

    async def swarms(request: web.Request) -> web.Response:
        return json_response(node_view(node, _limit(request)))

    async def swarm(request: web.Request) -> web.Response:
        digest = _digest(request.match_info["digest"])
        runner = next((it for it in node.runners.values() if it.blob.metainfo.digest == digest), None)
        if runner is None:
            raise NotFound(f"no swarm of {digest} is open here")
        return json_response(swarm_view(runner))

    app.router.add_get("/swarms", swarms)
    app.router.add_get("/swarms/{digest}", swarm)


def node_view(node: PeerNode, limit: int) -> NodeView:
    """All swarms of a node. Args: limit, how many of them are named."""
    lines = [
        SwarmLine(
            swarm=runner.swarm_id.hex(),
            digest=str(runner.blob.metainfo.digest),
            size=runner.blob.size,
            pieces=runner.blob.metainfo.pieces.count,
            held=runner.engine.held.bit_count(),
            used=runner.users > 0,
            neighbours=len(runner.peers),
            priority=_priority(runner),
            allowance=runner.engine.allowance,
        )
        for runner in islice(node.runners.values(), limit)
    ]
    return NodeView(node.peer_id.hex(), len(node.runners), node.banned(), lines)


def swarm_view(runner: SwarmRunner) -> SwarmView:
    """One swarm of a node."""
    engine, metainfo = runner.engine, runner.blob.metainfo
    pieces = metainfo.pieces
    missing = ~engine.held & ((1 << pieces.count) - 1)
    return SwarmView(
        swarm=runner.swarm_id.hex(),
        digest=str(metainfo.digest),
        size=metainfo.size,
        piece_length=pieces.piece_length,
        pieces=pieces.count,
        held=engine.held.bit_count(),
        used=runner.users > 0,
        priority=_priority(runner),
        allowance=engine.allowance,
        requested=engine.requested,
        availability=availability(missing, [it.pieces for it in engine.around.peers.values()]),
        neighbours=[_neighbour_view(runner, peer) for peer in runner.peers.values() if peer.joined],
    )


def availability(missing: int, held: Sequence[int]) -> list[int]:
    """How many of the missing pieces are held by none, by one, by two, and so on. Args: sets of pieces as bits."""
    at_least = [missing]  # at_least[n]: the pieces that n of those seen so far hold, or more
    for pieces in held:
        carried = pieces & missing
        for level in range(1, len(at_least)):
            at_least[level], carried = at_least[level] | carried, at_least[level] & carried
        if carried:
            at_least.append(carried)
    counts = [pieces.bit_count() for pieces in (*at_least, 0)]
    return [more - fewer for more, fewer in pairwise(counts)]


def _priority(runner: SwarmRunner) -> str | None:
    return runner.priority.name.lower() if runner.priority is not None else None


def _neighbour_view(runner: SwarmRunner, peer: Peer) -> NeighbourView:
    neighbour = runner.engine.around.peers[peer.connection.key]
    return NeighbourView(
        peer_id=peer.peer_id.hex(),
        address=str(peer.address),
        role=peer.introduction.role.value,
        zone=peer.introduction.zone,
        kraken=peer.introduction.is_kraken,
        held=neighbour.pieces.bit_count(),
        waiting=neighbour.waiting,
        asked=len(peer.assemblies),
        late=neighbour.late,
        seconds_a_piece=neighbour.pace,
        connected_seconds=round(runner.now() - peer.since, 3),
        received_bytes=peer.received_bytes,
        sent_bytes=peer.sent_bytes,
        encrypted=peer.connection.encrypted,
    )


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", "100")
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Rejected(f"limit={text[:20]!r} is not a number; say how many are to be listed, 0 to {MAX_LISTED}")
    return min(int(text), MAX_LISTED)


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except Invalid as error:
        raise Rejected(str(error)) from error
