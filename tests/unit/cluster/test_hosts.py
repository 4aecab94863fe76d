from __future__ import annotations

import msgspec
import pytest

from kraken.cluster.hosts import NodeCard
from kraken.core.errors import Invalid
from kraken.core.peers import Address

ASKED = Address("origin-1", 5200)


def test_a_card_travels_as_json() -> None:
    card = NodeCard("origin", "one", "10.0.0.1:5300", "00ff")

    assert msgspec.json.decode(msgspec.json.encode(card), type=NodeCard) == card


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (None, None),
        ("10.0.0.1:5300", Address("10.0.0.1", 5300)),
        ("0.0.0.0:5300", Address("origin-1", 5300)),
        ("[::]:5300", Address("origin-1", 5300)),
    ],
)
def test_a_peer_that_listens_everywhere_is_where_it_was_asked(peer: str | None, expected: Address | None) -> None:
    assert NodeCard("origin", "one", peer).peer_address(ASKED) == expected


def test_a_malformed_card_is_invalid() -> None:
    with pytest.raises(Invalid):
        NodeCard("origin", "one", "nonsense").peer_address(ASKED)
    with pytest.raises(Invalid):
        NodeCard("origin", "one", peer_id="xyz").peer_id_bytes()
    assert NodeCard("origin", "one", peer_id="00ff").peer_id_bytes() == b"\x00\xff"
