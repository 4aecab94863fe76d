"""What an origin suggests to whom, so that each piece leaves the origins about once, and the earliest first.

Peers that choose for themselves among pieces which only origins have choose the same ones again and again, for news of
a choice travels behind the pieces before it. An origin that gives each peer different pieces to fetch uploads little
more than one copy, and a reader's next pieces reach the crowd in the order in which they are read. Source of the
message: Suggest Piece of BEP 6, which names this use for it; measurements: docs/decisions/0016.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from kraken.core.pieces import PieceIndex
from kraken.p2p.bitfield import every_nth
from kraken.p2p.ledger import PeerKey

_IN_ALL = 16
"""Pieces that peers know they may ask for next, all together at the least; each knows of one at the least."""

_PATIENCE = 2
"""A piece is suggested to another peer as well when so many times as many as have not come yet have come after it."""


@dataclass(frozen=True, slots=True)
class Lot:
    """The part of a blob that falls to one of the origins which have it: every piece `number + n * of`."""

    number: int = 0
    of: int = 1


@dataclass(slots=True)
class _Told:
    """The pieces that a peer was told to fetch: those that it has not asked for yet, and those that are under way."""

    open: int = 0
    under_way: int = 0


class Suggestions:
    """The pieces that peers are told to fetch from us, while there are such that no peer is known to have."""

    def __init__(self, held: int, lot: Lot) -> None:
        """Args: held, the pieces that we have."""
        self._own = every_nth(held.bit_length(), lot.number, lot.of)
        self._all = held
        self._there = 0  # what a peer is known to have
        self._fresh = held  # what nobody has, or was told to fetch
        self._peers: dict[PeerKey, _Told] = {}
        self._history: deque[tuple[PeerKey, int, int]] = deque()  # who was told which piece, and what had come by then
        self._came = 0  # pieces that came where they were told to

    def joined(self, peer: PeerKey) -> None:
        """A peer that downloads is connected."""
        self._peers[peer] = _Told()

    def left(self, peer: PeerKey) -> None:
        """What it had to fetch falls to others; after the last one everything begins anew."""
        told = self._peers.pop(peer, None)
        if told is not None:
            self._fresh |= (told.open | told.under_way) & ~self._there
        if not self._peers:
            self._fresh, self._there = self._all, 0

    def earliest_of(self, asked: int) -> int:
        """Of pieces that peers ask for, the first that was suggested and has not come; none, if there is none."""
        told = asked & ~(self._fresh | self._there)
        return told & -told

    def asked(self, peer: PeerKey, piece: PieceIndex) -> None:
        """A peer asked us for a piece, and can be told of the next."""
        told = self._peers.get(peer)
        if told is not None:
            told.under_way |= told.open & 1 << piece
            told.open &= ~(1 << piece)

    def arrived(self, peer: PeerKey, pieces: int) -> None:
        """A peer has these pieces."""
        self._fresh &= ~pieces
        self._there |= pieces
        told = self._peers.get(peer)
        if told is not None:
            self._came += ((told.open | told.under_way) & pieces).bit_count()
            told.open &= ~pieces
            told.under_way &= ~pieces

    def due(self) -> Iterator[tuple[PeerKey, int]]:
        """What is to be suggested to whom now, as sets of pieces."""
        self._give_back()
        if not self._fresh:
            return
        most = max(1, _IN_ALL // max(len(self._peers), 1))
        for peer, told in self._peers.items():
            new = 0
            for _ in range(most - told.open.bit_count()):
                if not self._fresh:
                    break
                piece = self._next()
                self._fresh &= ~piece
                self._history.append((peer, piece, self._came))
                new |= piece
            if new:
                told.open |= new
                yield peer, new

    def _next(self) -> int:
        """Of the fresh pieces, the one that is suggested first: what falls to other origins only after our own."""
        ours, others = self._fresh & self._own, self._fresh & ~self._own
        return ours & -ours or others & -others

    def _give_back(self) -> None:
        """Let others fetch what a peer was told long ago."""
        while self._history:
            peer, piece, came = self._history[0]
            told = self._peers.get(peer)
            if told is not None and piece & (told.open | told.under_way):
                if self._came - came <= _PATIENCE * self._not_there():
                    return
                self._fresh |= piece & ~self._there
            self._history.popleft()

    def _not_there(self) -> int:
        return sum((told.open | told.under_way).bit_count() for told in self._peers.values())
