"""What was asked of whom, how long that may take, and what is late."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from typing import NewType

from kraken.core.pieces import PieceIndex
from kraken.p2p.bitfield import set_of
from kraken.p2p.values import Value

PeerKey = NewType("PeerKey", int)  # a connection's number, never used twice by a node

_SAMPLES = 64

_UNKNOWN_SECONDS = 1.0
"""Before the first piece has come, no request is late sooner: a slow link is not to be taken for dead peers."""


_HURRIED_FACTOR = 2.0
"""What is outstanding at the end of a download is late after this many times the usual time, whatever the floor."""

_NEARLY_ALL = 15, 16
_LONG_FACTOR, _LONG_HURRIED_FACTOR = 2.0, 1.5
"""Where times are uneven, as on slow links whose queues come and go, what takes several times as long as the median is
not stuck, and to ask for it again costs the link as much as the piece. So nothing is late before this many times what
nearly all of the recent pieces took. Ten real hosts with 20 Mbit/s got 13 % of 20 MiB twice without it, and with it
5 %; see decision 15."""


class Overdue(Value, frozen=True):
    """A request that took too long. It stays outstanding: the piece may still come."""

    peer: PeerKey
    piece: PieceIndex


@dataclass(slots=True, eq=False)
class _Request:
    asked_at: float
    deadline: float
    open: bool = True


class RequestLedger:
    """Outstanding requests of one swarm.

    A request is late after max(floor, factor x median of the recent request-to-piece times, twice what nearly all of
    them were), which doubles with each expiry since the last piece came; before any piece came the floor is a second at
    least. Once there is nothing else to wait for, it is late sooner. All times are seconds.
    """

    def __init__(self, floor: float, factor: float) -> None:
        self._floor = floor
        self._factor = factor
        self._by_peer: dict[PeerKey, dict[PieceIndex, _Request]] = {}
        self._askers: dict[PieceIndex, int] = {}
        self._took: deque[float] = deque()
        self._sorted: list[float] = []  # the same
        self._patience = 1.0
        self._hurried = False
        self._deadlines: list[tuple[float, int, _Request]] = []  # a heap; entries may be outdated
        self._sequence = 0
        self.counts: dict[PeerKey, int] = {}
        """How many requests are outstanding at each peer; peers without any may be missing."""
        self.total = 0
        """Requests outstanding at all peers together."""
        self.outstanding = 0
        """Set of pieces asked of at least one peer; bit i = piece i."""
        self.late = 0
        """Those of them of which every request is overdue."""

    @property
    def usual(self) -> float | None:
        """The median of the recent request-to-piece times, in seconds; None before any piece came."""
        times = self._sorted
        return (times[(len(times) - 1) // 2] + times[len(times) // 2]) / 2 if times else None

    @property
    def timeout(self) -> float:
        """Seconds after which a request made now would be late."""
        usual = self.usual
        if usual is None:
            return max(self._floor, _UNKNOWN_SECONDS) * self._patience
        if self._hurried:
            return max(usual * _HURRIED_FACTOR, self._long * _LONG_HURRIED_FACTOR) * self._patience
        return max(self._floor, usual * self._factor, self._long * _LONG_FACTOR) * self._patience

    @property
    def _long(self) -> float:
        """What all but one in sixteen of the recent pieces took no longer than; 0.0 while fewer than that have come."""
        part, of = _NEARLY_ALL
        times = self._sorted
        return times[len(times) * part // of] if len(times) >= of else 0.0

    def count(self, peer: PeerKey) -> int:
        """Requests outstanding at one peer."""
        return self.counts.get(peer, 0)

    def asked_of(self, peer: PeerKey) -> int:
        """Set of the pieces asked of one peer."""
        return set_of(self._by_peer.get(peer, ()))

    def askers(self, piece: PieceIndex) -> list[PeerKey]:
        """The peers that this piece was asked of."""
        if piece not in self._askers:
            return []
        return [peer for peer, requests in self._by_peer.items() if piece in requests]

    def asked(self, peer: PeerKey, piece: PieceIndex, now: float) -> None:
        """A request went out."""
        requests = self._by_peer.setdefault(peer, {})
        assert piece not in requests, f"piece {piece} asked twice of one peer"
        request = requests[piece] = _Request(now, now + self.timeout)
        self._watch(request)
        self.total += 1
        self.counts[peer] = len(requests)
        self._askers[piece] = self._askers.get(piece, 0) + 1
        self.outstanding |= 1 << piece
        self.late &= ~(1 << piece)

    def arrived(self, peer: PeerKey, piece: PieceIndex, now: float) -> float | None:
        """The piece came from the peer. Returns: the seconds since it was asked for; None when it was not."""
        request = self._remove(peer, piece)
        if request is None:
            return None
        took = now - request.asked_at
        if len(self._took) == _SAMPLES:
            del self._sorted[bisect_left(self._sorted, self._took.popleft())]
        self._took.append(took)
        insort(self._sorted, took)
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
        deadline = self.next_deadline()
        if deadline is None or deadline > now:
            return []
        overdue = [
            Overdue(peer, piece)
            for peer, requests in self._by_peer.items()
            for piece, request in requests.items()
            if request.deadline <= now
        ]
        self._patience = min(self._patience * 2, 16.0)
        for each in overdue:
            request = self._by_peer[each.peer][each.piece]
            request.deadline = now + self.timeout
            self._watch(request)
            if self._askers[each.piece] == 1:
                self.late |= 1 << each.piece
        return overdue

    def hurry(self, hurried: bool) -> None:
        """Whether there is nothing to wait for but what is outstanding, of which each piece then holds up the end."""
        if hurried is self._hurried or (hurried and self.usual is None):
            return
        self._hurried = hurried
        for requests in self._by_peer.values() if hurried else ():
            for request in requests.values():
                sooner = request.asked_at + self.timeout
                if sooner < request.deadline:
                    request.deadline = sooner
                    self._watch(request)

    def next_deadline(self) -> float | None:
        """When the next request will be late; None without requests."""
        heap = self._deadlines
        while heap:
            deadline, _, request = heap[0]
            if request.open and request.deadline == deadline:
                return deadline
            heapq.heappop(heap)
        return None

    def _watch(self, request: _Request) -> None:
        """Note the deadline of a request. What is outdated is thrown away before it outnumbers the rest by far."""
        self._sequence += 1
        heapq.heappush(self._deadlines, (request.deadline, self._sequence, request))
        if len(self._deadlines) > 4 * self.total + 256:
            self._deadlines = [entry for entry in self._deadlines if entry[2].open and entry[2].deadline == entry[0]]
            heapq.heapify(self._deadlines)

    def _remove(self, peer: PeerKey, piece: PieceIndex) -> _Request | None:
        requests = self._by_peer.get(peer)
        request = requests.pop(piece, None) if requests is not None else None
        if request is None:
            return None
        request.open = False
        self.total -= 1
        if requests:
            self.counts[peer] = len(requests)
        else:
            del self._by_peer[peer], self.counts[peer]
        self._askers[piece] -= 1
        if not self._askers[piece]:
            del self._askers[piece]
            self.outstanding &= ~(1 << piece)
            self.late &= ~(1 << piece)
        return request
