"""Which of the requests of other peers are served now, which wait, and which are turned down.

First come first served into a fixed number of slots, one for a peer at a time, with two exceptions. The first request
of a newcomer, a peer that has nothing yet, goes before all others: what it gets it can give on, and until then its
link idles. And the swarm may name pieces that go before others, such as those that are rare or that readers need soon.
Who asks for more than a few at once is told no at once, so that it asks elsewhere: a queue here would only hide from it
that others are free.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice

from kraken.core.pieces import PieceIndex
from kraken.p2p.ledger import PeerKey
from kraken.p2p.values import Value

_LOOKED_AT = 64
"""Of so many that wait one is chosen. Agents hardly ever make more; stock clients, which ask for 16 KiB, may, and each
block that is sent must not cost a look at thousands."""


class BlockSpan(Value, frozen=True):
    """What a peer asks for: bytes begin <= i < begin + length of a piece."""

    piece: PieceIndex
    begin: int
    length: int


class SendSpan(Value, frozen=True):
    """Order: send this to the peer, then report that it was sent."""

    peer: PeerKey
    span: BlockSpan


class RejectSpan(Value, frozen=True):
    """Order: tell the peer that it will not get this."""

    peer: PeerKey
    span: BlockSpan


class UploadSlots:
    """The upload queue of one swarm."""

    def __init__(
        self,
        slots: int,
        bytes_per_peer: int,
        requests_per_peer: int,
        sent_first: Callable[[Iterable[PieceIndex]], int],
        first_piece_slots: int = 1,
    ) -> None:
        """
        Args: bytes_per_peer, how much may wait for one peer; requests_per_peer, how many at least may; sent_first,
        tells which of some pieces go before the others now, bit i = piece i; first_piece_slots, how many slots the
        first piece of a newcomer takes, so that few others share the link with it.
        """
        self._slots = slots
        self._bytes_per_peer = bytes_per_peer
        self._requests_per_peer = requests_per_peer
        self._sent_first = sent_first
        self._first_piece_slots = first_piece_slots
        self._newcomers: deque[tuple[PeerKey, BlockSpan]] = deque()
        self._queue: deque[tuple[PeerKey, BlockSpan]] = deque()
        self._active: dict[PeerKey, BlockSpan] = {}
        self._welcomed: set[PeerKey] = set()  # those of them that get their first piece
        self._owed: dict[PeerKey, list[int]] = {}

    @property
    def waiting(self) -> int:
        """Requests not yet sent in full: what we tell peers about how busy we are."""
        return len(self._newcomers) + len(self._queue) + len(self._active)

    def requested(self, peer: PeerKey, span: BlockSpan, *, has_nothing: bool = False) -> list[SendSpan | RejectSpan]:
        """A peer asks. Args: has_nothing, whether it told of no piece yet. Returns: what is to be done at once."""
        queue = self._newcomers if has_nothing and peer not in self._owed else self._queue
        owed = self._owed.setdefault(peer, [])
        if len(owed) >= self._requests_per_peer and sum(owed) + span.length > self._bytes_per_peer:
            return [RejectSpan(peer, span)]
        owed.append(span.length)
        queue.append((peer, span))
        return [*self._fill()]

    def withdrawn(self, peer: PeerKey, span: BlockSpan) -> list[SendSpan | RejectSpan]:
        """A peer no longer wants it. What is already being sent goes on (BEP 6: each request is answered)."""
        for queue in (self._newcomers, self._queue):
            if (peer, span) in queue:
                queue.remove((peer, span))
                self._owed[peer].remove(span.length)
                return [RejectSpan(peer, span)]
        return []

    def sent(self, peer: PeerKey) -> list[SendSpan]:
        """What was being sent to the peer is out. Returns: what is sent next."""
        span = self._active.pop(peer, None)
        self._welcomed.discard(peer)
        if span is not None:
            self._owed[peer].remove(span.length)
        return self._fill()

    def left(self, peer: PeerKey) -> list[SendSpan]:
        """The peer is gone. Returns: what is sent next."""
        self._active.pop(peer, None)
        self._welcomed.discard(peer)
        self._owed.pop(peer, None)
        self._newcomers = deque(item for item in self._newcomers if item[0] != peer)
        self._queue = deque(item for item in self._queue if item[0] != peer)
        return self._fill()

    def _fill(self) -> list[SendSpan]:
        started: list[SendSpan] = []
        while self._newcomers and self._has_room():
            peer, span = self._newcomers.popleft()  # its first request, so nothing is sent to it yet
            self._welcomed.add(peer)
            started.append(self._start(peer, span))
        while self._queue and self._has_room():
            chosen = self._next()
            if chosen is None:
                break
            self._queue.remove(chosen)
            started.append(self._start(*chosen))
        return started

    def _has_room(self) -> bool:
        return len(self._active) + (self._first_piece_slots - 1) * len(self._welcomed) < self._slots

    def _next(self) -> tuple[PeerKey, BlockSpan] | None:
        """Whose turn it is, of those that nothing is sent to; None if there is nobody."""
        ready = list(islice((item for item in self._queue if item[0] not in self._active), _LOOKED_AT))
        if len(ready) < 2:
            return ready[0] if ready else None
        first = self._sent_first(span.piece for _, span in ready)
        return next((item for item in ready if first >> item[1].piece & 1), ready[0])

    def _start(self, peer: PeerKey, span: BlockSpan) -> SendSpan:
        self._active[peer] = span
        return SendSpan(peer, span)
