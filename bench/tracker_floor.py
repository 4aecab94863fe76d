"""The limit for a tracker in Python: a protocol that answers whatever it gets with the bytes of a tracker's answer.

python -m bench.tracker_floor PORT
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

from kraken.runtime.descriptors import allow_descriptors
from kraken.tracker.messages import PeerEntry, encode, joined_reply

_PEERS = [encode(PeerEntry(bytes([number]) * 20, f"10.0.100.{number}", 5302, "agent")) for number in range(22)]
_BODY = joined_reply(10.0, [(b"s" * 20, _PEERS, len(_PEERS))])
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/msgpack\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)


class Floor(asyncio.Protocol):
    """Reads, and writes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - whatever it is
        self._transport.write(_ANSWER)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Floor, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    allow_descriptors(20_000)
    uvloop.run(serve(int(sys.argv[1])))
