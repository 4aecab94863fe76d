"""What can happen to a swarm, and what a swarm can order. Payload is in neither."""

from __future__ import annotations

from kraken.core.peers import Address, PeerId, Role
from kraken.core.pieces import PieceIndex
from kraken.p2p.dialing import Candidate, Dial
from kraken.p2p.ledger import PeerKey
from kraken.p2p.upload_slots import BlockSpan, RejectSpan, SendSpan
from kraken.p2p.values import Value


class PeerJoined(Value, frozen=True):
    """A connection stands. `dialled` is the address that we dialled, None when the peer came to us.

    A Kraken peer never chokes; a stock client (`kraken` false) has us choked until it says otherwise. `told` is the
    set of pieces that the peer was told we hold; None for all that we hold now. `zone` is empty when it did not say.
    """

    peer: PeerKey
    peer_id: PeerId
    role: Role
    kraken: bool
    dialled: Address | None
    told: int | None = None
    zone: str = ""


class PeerLeft(Value, frozen=True):
    peer: PeerKey


class PeerHas(Value, frozen=True):
    """A peer holds these pieces too (a set); `waiting` requests queue there, None when it did not say."""

    peer: PeerKey
    pieces: int
    waiting: int | None = None


class PiecesSuggested(Value, frozen=True):
    """An origin wants us, and nobody else for now, to fetch these pieces (a set) from it."""

    peer: PeerKey
    pieces: int


class PeerChoked(Value, frozen=True):
    peer: PeerKey
    choked: bool


class SpanRequested(Value, frozen=True):
    """A peer asks for part of a piece, within the bounds of the blob."""

    peer: PeerKey
    span: BlockSpan


class SpanWithdrawn(Value, frozen=True):
    peer: PeerKey
    span: BlockSpan


class SpanSent(Value, frozen=True):
    """What was ordered to be sent to the peer is out, or will never be."""

    peer: PeerKey


class BytesArrived(Value, frozen=True):
    """The peer is alive: it last sent payload of a piece at `at` (monotonic seconds). Told before a Tick."""

    peer: PeerKey
    at: float


class PieceVerified(Value, frozen=True):
    """A piece is on disk, and its hash is right. `peer` sent it; None when it was found by other means."""

    peer: PeerKey | None
    piece: PieceIndex


class PieceCorrupt(Value, frozen=True):
    """The peer sent a whole piece that does not have its hash."""

    peer: PeerKey
    piece: PieceIndex


class PieceDropped(Value, frozen=True):
    """The peer sent a piece that could not be kept, for want of room. It is still to be had."""

    peer: PeerKey
    piece: PieceIndex


class PieceLost(Value, frozen=True):
    """A piece that we held turned out bad on our disk."""

    piece: PieceIndex


class RequestRejected(Value, frozen=True):
    """The peer will not send this piece now."""

    peer: PeerKey
    piece: PieceIndex


class ReaderMoved(Value, frozen=True):
    """Somebody waits for the pieces start <= i < stop, in order; `part` when that is not the whole blob."""

    reader: int
    start: int
    stop: int
    part: bool


class ReaderLeft(Value, frozen=True):
    reader: int


class DemandChanged(Value, frozen=True):
    """Whether pieces are to be fetched at all."""

    wanted: bool


class AllowanceChanged(Value, frozen=True):
    """So many requests may be outstanding, late ones included, while other swarms of this host ask too.

    `requests` is 1 or more; None when nobody else sets a limit.
    """

    requests: int | None


class PeersOffered(Value, frozen=True):
    """The tracker named peers.

    `crowd` is how many peers of the swarm still fetch, ourselves included; 0 when it did not say.
    """

    candidates: tuple[Candidate, ...]
    crowd: int = 0


class DialFailed(Value, frozen=True):
    address: Address


class Tick(Value, frozen=True):
    """Only time has passed."""


Event = (
    PeerJoined
    | PeerLeft
    | PeerHas
    | PiecesSuggested
    | PeerChoked
    | SpanRequested
    | SpanWithdrawn
    | SpanSent
    | BytesArrived
    | PieceVerified
    | PieceCorrupt
    | PieceDropped
    | PieceLost
    | RequestRejected
    | ReaderMoved
    | ReaderLeft
    | DemandChanged
    | PeersOffered
    | DialFailed
    | Tick
    | AllowanceChanged
)


class AskPiece(Value, frozen=True):
    """Request this piece of the peer."""

    peer: PeerKey
    piece: PieceIndex


class WithdrawAsk(Value, frozen=True):
    """Tell the peer that we no longer want the piece; drop what of it still comes."""

    peer: PeerKey
    piece: PieceIndex


class TellHave(Value, frozen=True):
    """Tell these peers that we hold more pieces (a set), and how many requests wait here."""

    peers: tuple[PeerKey, ...]
    pieces: int
    waiting: int


class SuggestPieces(Value, frozen=True):
    """Tell a peer to fetch these pieces (a set) from us."""

    peer: PeerKey
    pieces: int


class ClosePeer(Value, frozen=True):
    """Close the connection; nothing is held against the peer."""

    peer: PeerKey
    reason: str


class BanPeer(Value, frozen=True):
    """Close the connection and keep the peer out: it was proven to send bad data."""

    peer: PeerKey
    piece: PieceIndex


class AskTracker(Value, frozen=True):
    """More peers are needed, or news of how many there are, sooner than the next announce is due."""


Action = (
    AskPiece | WithdrawAsk | SendSpan | RejectSpan | TellHave | SuggestPieces | ClosePeer | BanPeer | AskTracker | Dial
)
