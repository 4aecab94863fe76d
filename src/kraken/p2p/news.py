"""What came in, and when neighbours are told of it.

News is gathered for a moment, for one message that tells of several pieces costs as much as one that tells of one.
"""

from __future__ import annotations

from kraken.core.pieces import PieceIndex
from kraken.p2p.events import TellHave
from kraken.p2p.ledger import PeerKey
from kraken.p2p.neighbourhood import Neighbourhood

SLOW_PIECE_SECONDS = 0.02
"""Where pieces come this far apart, the link is what binds, and a blob of few pieces is one like others: six real hosts
with 20 Mbit/s have 24 MiB at 0.90 of line rate then, and at 0.82 by the rule for what latency binds."""

_GATHERED_PIECES = 4
_LONGEST_GATHER_SECONDS = 0.5
"""There, news is gathered for as long as four pieces take, but not for longer than half a second. With that, and peers
spared that have the pieces already, 50 hosts with 20 Mbit/s send half of the messages; see decision 15."""


class News:
    """The HAVEs of one swarm that have not been sent yet."""

    def __init__(self, around: Neighbourhood, everything: int, gather_seconds: float) -> None:
        """
        Args: everything, the set of all pieces of the blob; gather_seconds, how long the first of the news waits for
        more, where links are quick.
        """
        self._around = around
        self._everything = everything
        self._gather_seconds = gather_seconds
        self._pieces = 0
        self.flush_at: float | None = None
        """When they are due; None when there are none."""

    def verified(self, piece: PieceIndex, now: float, apart: float) -> None:
        """A piece came in. Args: apart, seconds from one to the next, as far as known."""
        self._pieces |= 1 << piece
        if self.flush_at is None:
            slow = min(_GATHERED_PIECES * apart, _LONGEST_GATHER_SECONDS) if apart >= SLOW_PIECE_SECONDS else 0.0
            self.flush_at = now + max(self._gather_seconds, slow)

    def lost(self, piece: PieceIndex) -> None:
        """A piece is no longer here."""
        self._pieces &= ~(1 << piece)

    def flush(self, waiting: int, *, sparing: bool) -> list[TellHave]:
        """Tell peers what came in since the last time; of complete ones only origins care, for what they suggested.

        Args: waiting, how many requests wait here, which they are told along; sparing, whether a peer that has all of
        it hears of it only with the next piece that it lacks, as where links are slow and more is to come.
        """
        pieces, peers = self._pieces, self._around.peers
        told: dict[int, list[PeerKey]] = {}
        for peer, each in peers.items():
            if each.pieces != self._everything:
                each.untold |= pieces
                lacking = each.untold & ~each.pieces
                if lacking or (each.untold and not sparing):
                    told.setdefault(each.untold, []).append(peer)
                    each.untold = 0
        orders = [TellHave(tuple(those), news, waiting) for news, those in told.items()]
        for origin in self._around.origins:
            followed = pieces & peers[origin].suggested
            if followed:
                orders.append(TellHave((origin,), followed, waiting))
        self._pieces, self.flush_at = 0, None
        return orders
