"""What a component says of itself when it is asked: GET /node."""

from __future__ import annotations

import msgspec

from kraken.core.errors import Invalid
from kraken.core.peers import Address

NODE_PATH = "/node"

_ANY_HOST = {"0.0.0.0", "[::]"}


class NodeCard(msgspec.Struct, frozen=True):
    """Kind and name of a component; for those that are peers also where their peer port is.

    `peer` is `host:port`, `peer_id` is hex. A host of 0.0.0.0 or [::] stands for the host at which the
    component was asked.
    """

    kind: str
    name: str
    peer: str | None = None
    peer_id: str | None = None

    def peer_address(self, asked_at: Address) -> Address | None:
        """Where to reach the component as a peer, when it answered at `asked_at`; None when it is none.

        Raises: Invalid, when the card is malformed.
        """
        if self.peer is None:
            return None
        peer = Address.parse(self.peer)
        return Address(asked_at.host, peer.port) if peer.host in _ANY_HOST else peer

    def peer_id_bytes(self) -> bytes | None:
        """The peer id; None when the component is no peer. Raises: Invalid, when it is not hex."""
        try:
            return None if self.peer_id is None else bytes.fromhex(self.peer_id)
        except ValueError as error:
            raise Invalid(f"peer id {self.peer_id!r:.80} is not hex") from error
