"""What was asked of whom, how long that may take, and what is late."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import NewType

from kraken.core.pieces import PieceIndex

PeerKey = NewType("PeerKey", int)  # a connection's number, never used twice by a node

_SAMPLES = 64


@dataclass(frozen=True, slots=True)
class Overdue:
    """A request that took too long. It stays outstanding: the piece may still come."""

    peer: PeerKey
    piece: PieceIndex


@dataclass(slots=True)
class _Request:
    asked_at: float
    deadline: float


class RequestLedger:
    """Outstanding requests of one swarm.

    A request is late after max(floor, factor x median of the recent request-to-piece times), which
    doubles with each expiry since the last piece came. All times are seconds.
    """

    def __init__(self, floor: float, factor: float) -> None:
        self._floor = floor
        self._factor = factor
        self._by_peer: dict[PeerKey, dict[PieceIndex, _Request]] = {}
        self._askers: dict[PieceIndex, int] = {}
        self._took: deque[float] = deque(maxlen=_SAMPLES)
        self._patience = 1.0
        self.outstanding = 0
        """Set of pieces asked of at least one peer; bit i = piece i."""
        self.late = 0
        """Those of them of which every request is overdue."""

    @property
    def total(self) -> int:
        """Requests outstanding at all peers together."""
        return sum(map(len, self._by_peer.values()))

    @property
    def timeout(self) -> float:
        """Seconds after which a request made now would be late."""
        typical = median(self._took) * self._factor if self._took else 0.0
        return max(self._floor, typical) * self._patience

    def count(self, peer: PeerKey) -> int:
        """Requests outstanding at one peer."""
        return len(self._by_peer.get(peer, ()))

    def asked_of(self, peer: PeerKey) -> int:
        """Set of the pieces asked of one peer."""
        return sum(1 << piece for piece in self._by_peer.get(peer, ()))

    def askers(self, piece: PieceIndex) -> list[PeerKey]:
        """The peers that this piece was asked of."""
        return [peer for peer, requests in self._by_peer.items() if piece in requests]

    def asked(self, peer: PeerKey, piece: PieceIndex, now: float) -> None:
        """A request went out."""
        requests = self._by_peer.setdefault(peer, {})
        assert piece not in requests, f"piece {piece} asked twice of one peer"
        requests[piece] = _Request(now, now + self.timeout)
        self._askers[piece] = self._askers.get(piece, 0) + 1
        self.outstanding |= 1 << piece
        self.late &= ~(1 << piece)

    def arrived(self, peer: PeerKey, piece: PieceIndex, now: float) -> float | None:
        """The piece came from the peer. Returns: the seconds since it was asked for; None when it was not."""
        request = self._remove(peer, piece)
        if request is None:
            return None
        took = now - request.asked_at
        self._took.append(took)
        self._patience = 1.0
        return took

    def withdrawn(self, peer: PeerKey, piece: PieceIndex) -> bool:
        """The request was rejected, or we take it back. Returns: whether it was outstanding."""
        return self._remove(peer, piece) is not None

    def left(self, peer: PeerKey) -> None:
        """The peer is gone, and with it all that was asked of it."""
        for piece in list(self._by_peer.get(peer, ())):
            self._remove(peer, piece)

    def expire(self, now: float) -> list[Overdue]:
        """The requests that have become late by `now`. Each is told of again only after its new deadline."""
        overdue = [
            Overdue(peer, piece)
            for peer, requests in self._by_peer.items()
            for piece, request in requests.items()
            if request.deadline <= now
        ]
        if overdue:
            self._patience = min(self._patience * 2, 16.0)
        for each in overdue:
            self._by_peer[each.peer][each.piece].deadline = now + self.timeout
            if self._askers[each.piece] == 1:
                self.late |= 1 << each.piece
        return overdue

    def next_deadline(self) -> float | None:
        """When the next request will be late; None without requests."""
        return min((request.deadline for request in self._requests()), default=None)

    def _requests(self) -> Iterator[_Request]:
        for requests in self._by_peer.values():
            yield from requests.values()

    def _remove(self, peer: PeerKey, piece: PieceIndex) -> _Request | None:
        requests = self._by_peer.get(peer)
        request = requests.pop(piece, None) if requests is not None else None
        if request is None:
            return None
        if not requests:
            del self._by_peer[peer]
        self._askers[piece] -= 1
        if not self._askers[piece]:
            del self._askers[piece]
            self.outstanding &= ~(1 << piece)
            self.late &= ~(1 << piece)
        return request
