"""How other components speak to the trackers.

A blob belongs to the tracker that ranks first for its digest, so that all peers of a swarm meet at one;
when that one cannot be reached, everybody goes to the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aiohttp import ClientResponse

from kraken.cluster.io.members import Members
from kraken.core.digest import Digest
from kraken.core.errors import Corrupt, Invalid, Unavailable
from kraken.core.metainfo import Metainfo
from kraken.core.peers import Address, PeerId, Role
from kraken.origin.messages import INLINE_LENGTH_HEADER, MAX_INLINE_BYTES, MAX_METAINFO_BYTES, split_metainfo
from kraken.runtime.web_client import HttpClient
from kraken.tracker.messages import (
    MAX_REPLY_BYTES,
    AnnounceReply,
    AnnounceRequest,
    SwarmAnnounce,
    SwarmPeers,
    decode_reply,
    encode,
)

SWARMS_PER_REQUEST = 256
"""Well below `MAX_SWARMS`, so that no one request holds a tracker up."""


@dataclass(frozen=True, slots=True)
class Announcer:
    """Who announces: a node, and where its peer port is.

    `host` is None for the address that the tracker sees; it counts only at trackers that trust it.
    """

    peer_id: PeerId
    host: str | None
    port: int
    role: Role
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Announced:
    """What the trackers answered: peers by swarm, and the seconds until the next announce is due.

    `unreached` are the swarm ids that no tracker could be told of; announce those again soon.
    """

    interval: float
    swarms: tuple[SwarmPeers, ...]
    unreached: tuple[bytes, ...]


class TrackerClient:
    """Announces, and metainfo. Asks the trackers in the order in which they rank for a digest."""

    def __init__(self, http: HttpClient, members: Members) -> None:
        self._http = http
        self._members = members

    async def announce(self, announcer: Announcer, swarms: Sequence[SwarmAnnounce]) -> Announced:
        """Tell the trackers of any number of swarms, and hear who else is in them.

        Raises: Unavailable, when not one of the swarms could be announced.
        """
        outcomes = await asyncio.gather(
            *(self._announce_batch(announcer, trackers, batch) for trackers, batch in self._batches(swarms)),
            return_exceptions=True,
        )
        replies: list[AnnounceReply] = []
        failure: Unavailable | None = None
        for outcome in outcomes:
            if isinstance(outcome, AnnounceReply):
                replies.append(outcome)
            elif isinstance(outcome, Unavailable):
                failure = outcome
            else:
                raise outcome
        if failure is not None and not replies:
            raise failure
        return _merged(replies, swarms)

    async def metainfo(self, digest: Digest) -> tuple[Metainfo, bytes | None]:
        """The metainfo of a blob; with it the blob's own bytes, checked, when they are few.

        Raises: NotFound, when the origins have no such blob; Unavailable, when that cannot be known.
        """
        failure = Unavailable("no tracker is configured")
        for tracker in self._members.ranked(str(digest)):
            try:
                async with self._http.stream("GET", tracker, f"/metainfo/{digest}", params={"content": 1}) as answer:
                    found = await read_metainfo(digest, answer)
            except Unavailable as error:
                self._members.report_failure(tracker, str(error))
                failure = error
            else:
                self._members.report_success(tracker)
                return found
        raise failure

    def _batches(self, swarms: Iterable[SwarmAnnounce]) -> list[tuple[list[Address], list[SwarmAnnounce]]]:
        """Swarms that go to the same trackers in the same order, in requests of a bounded size."""
        by_order: dict[tuple[Address, ...], list[SwarmAnnounce]] = {}
        for swarm in swarms:
            by_order.setdefault(tuple(self._members.ranked(swarm.digest)), []).append(swarm)
        return [
            (list(order), group[at : at + SWARMS_PER_REQUEST])
            for order, group in by_order.items()
            for at in range(0, len(group), SWARMS_PER_REQUEST)
        ]

    async def _announce_batch(
        self, announcer: Announcer, trackers: list[Address], batch: list[SwarmAnnounce]
    ) -> AnnounceReply:
        request = AnnounceRequest(
            announcer.peer_id, announcer.host, announcer.port, announcer.role, announcer.zone, batch
        )
        body = encode(request)
        failure = Unavailable("no tracker is configured")
        for tracker in trackers:
            try:
                answer = await self._http.bytes("POST", tracker, "/announce", data=body, max_bytes=MAX_REPLY_BYTES)
                reply = decode_reply(answer)
            except Unavailable as error:
                self._members.report_failure(tracker, str(error))
                failure = error
            except Invalid as error:
                failure = Unavailable(f"{tracker} answered an announce with something else: {error}")
            else:
                self._members.report_success(tracker)
                return reply
        raise failure


async def read_metainfo(digest: Digest, answer: ClientResponse) -> tuple[Metainfo, bytes | None]:
    """Admit a metainfo answer of a tracker, or of an origin: the form is the same.

    Raises: Unavailable, when it is not the metainfo of `digest`, for the next host may have the right one.
    """
    try:
        inline = int(answer.headers.get(INLINE_LENGTH_HEADER, "-1")[:12])
        data = await _whole(answer, MAX_METAINFO_BYTES + MAX_INLINE_BYTES)
        return split_metainfo(digest, data, inline if inline >= 0 else None)
    except (ValueError, Corrupt) as error:
        raise Unavailable(f"{answer.url}: not the metainfo of {digest}: {error}") from error


async def _whole(answer: ClientResponse, limit: int) -> bytes:
    parts: list[bytes] = []
    received = 0
    async for chunk in answer.content.iter_any():
        received += len(chunk)
        if received > limit:
            raise Invalid(f"more than {limit} bytes")
        parts.append(chunk)
    return b"".join(parts)


def _merged(replies: Sequence[AnnounceReply], asked: Sequence[SwarmAnnounce]) -> Announced:
    answered = {swarm.swarm: swarm for reply in replies for swarm in reply.swarms}
    interval = min((reply.interval for reply in replies), default=10.0)
    known = tuple(answered[it.swarm] for it in asked if it.swarm in answered)
    return Announced(interval, known, tuple(it.swarm for it in asked if it.swarm not in answered))
