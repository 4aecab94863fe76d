"""What can happen to a swarm, and what a swarm can order. Payload is in neither."""

from __future__ import annotations

from dataclasses import dataclass

from kraken.core.peers import Address, PeerId, Role
from kraken.core.pieces import PieceIndex
from kraken.p2p.dialing import Candidate, Dial
from kraken.p2p.ledger import PeerKey
from kraken.p2p.upload_slots import BlockSpan, RejectSpan, SendSpan


@dataclass(frozen=True, slots=True)
class PeerJoined:
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


@dataclass(frozen=True, slots=True)
class PeerLeft:
    peer: PeerKey


@dataclass(frozen=True, slots=True)
class PeerHas:
    """A peer holds these pieces too (a set); `waiting` requests queue there, None when it did not say."""

    peer: PeerKey
    pieces: int
    waiting: int | None = None


@dataclass(frozen=True, slots=True)
class PiecesSuggested:
    """An origin wants us, and nobody else for now, to fetch these pieces (a set) from it."""

    peer: PeerKey
    pieces: int


@dataclass(frozen=True, slots=True)
class PeerChoked:
    peer: PeerKey
    choked: bool


@dataclass(frozen=True, slots=True)
class SpanRequested:
    """A peer asks for part of a piece, within the bounds of the blob."""

    peer: PeerKey
    span: BlockSpan


@dataclass(frozen=True, slots=True)
class SpanWithdrawn:
    peer: PeerKey
    span: BlockSpan


@dataclass(frozen=True, slots=True)
class SpanSent:
    """What was ordered to be sent to the peer is out, or will never be."""

    peer: PeerKey


@dataclass(frozen=True, slots=True)
class BytesArrived:
    """The peer is alive: it last sent payload of a piece at `at` (monotonic seconds). Told before a Tick."""

    peer: PeerKey
    at: float


@dataclass(frozen=True, slots=True)
class PieceVerified:
    """A piece is on disk, and its hash is right. `peer` sent it; None when it was found by other means."""

    peer: PeerKey | None
    piece: PieceIndex


@dataclass(frozen=True, slots=True)
class PieceCorrupt:
    """The peer sent a whole piece that does not have its hash."""

    peer: PeerKey
    piece: PieceIndex


@dataclass(frozen=True, slots=True)
class PieceDropped:
    """The peer sent a piece that could not be kept, for want of room. It is still to be had."""

    peer: PeerKey
    piece: PieceIndex


@dataclass(frozen=True, slots=True)
class PieceLost:
    """A piece that we held turned out bad on our disk."""

    piece: PieceIndex


@dataclass(frozen=True, slots=True)
class RequestRejected:
    """The peer will not send this piece now."""

    peer: PeerKey
    piece: PieceIndex


@dataclass(frozen=True, slots=True)
class ReaderMoved:
    """Somebody waits for the pieces start <= i < stop, in order; `part` when that is not the whole blob."""

    reader: int
    start: int
    stop: int
    part: bool


@dataclass(frozen=True, slots=True)
class ReaderLeft:
    reader: int


@dataclass(frozen=True, slots=True)
class DemandChanged:
    """Whether pieces are to be fetched at all."""

    wanted: bool


@dataclass(frozen=True, slots=True)
class AllowanceChanged:
    """So many requests may be outstanding, late ones included, while other swarms of this host ask too.

    `requests` is 1 or more; None when nobody else sets a limit.
    """

    requests: int | None


@dataclass(frozen=True, slots=True)
class PeersOffered:
    """The tracker named peers.

    `crowd` is how many peers of the swarm still fetch, ourselves included; 0 when it did not say.
    """

    candidates: tuple[Candidate, ...]
    crowd: int = 0


@dataclass(frozen=True, slots=True)
class DialFailed:
    address: Address


@dataclass(frozen=True, slots=True)
class Tick:
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


@dataclass(frozen=True, slots=True)
class AskPiece:
    """Request this piece of the peer."""

    peer: PeerKey
    piece: PieceIndex


@dataclass(frozen=True, slots=True)
class WithdrawAsk:
    """Tell the peer that we no longer want the piece; drop what of it still comes."""

    peer: PeerKey
    piece: PieceIndex


@dataclass(frozen=True, slots=True)
class TellHave:
    """Tell these peers that we hold more pieces (a set), and how many requests wait here."""

    peers: tuple[PeerKey, ...]
    pieces: int
    waiting: int


@dataclass(frozen=True, slots=True)
class SuggestPieces:
    """Tell a peer to fetch these pieces (a set) from us."""

    peer: PeerKey
    pieces: int


@dataclass(frozen=True, slots=True)
class ClosePeer:
    """Close the connection; nothing is held against the peer."""

    peer: PeerKey
    reason: str


@dataclass(frozen=True, slots=True)
class BanPeer:
    """Close the connection and keep the peer out: it was proven to send bad data."""

    peer: PeerKey
    piece: PieceIndex


@dataclass(frozen=True, slots=True)
class AskTracker:
    """More peers are needed, or news of how many there are, sooner than the next announce is due."""


Action = (
    AskPiece | WithdrawAsk | SendSpan | RejectSpan | TellHave | SuggestPieces | ClosePeer | BanPeer | AskTracker | Dial
)
