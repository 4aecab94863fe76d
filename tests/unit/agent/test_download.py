"""When a download that is under way has something to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from kraken.agent.download import Download
from kraken.core.errors import KrakenError
from kraken.core.peers import Role
from kraken.core.pieces import PieceIndex

PIECES = 3


class Blob:
    """A blob of three pieces, whose hash can go on when the test says so."""

    every_piece = (1 << PIECES) - 1

    def __init__(self) -> None:
        self.held = 0
        self.has_more_to_hash = False
        self.looks = 0

    async def hash_to_frontier(self) -> None:
        self.looks += 1
        self.has_more_to_hash = False


class Runner:
    """A swarm from which pieces come when the test says so."""

    failure: KrakenError | None = None
    payload_at = 0.0

    def __init__(self, blob: Blob) -> None:
        self._blob = blob

    def listen(self, listener: Callable[[PieceIndex, Role | None, int], None]) -> None:
        self._listener = listener

    def unlisten(self, _listener: object) -> None: ...

    def demand(self, _change: int) -> None: ...

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def piece_arrives(self, piece: int) -> None:
        self._blob.held |= 1 << piece
        self._listener(PieceIndex(piece), Role.AGENT, 1)


class Store:
    async def finish(self, _blob: object) -> None: ...


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_piece_wakes_a_download_only_if_it_is_the_last_or_the_hash_can_go_on() -> None:
    blob = Blob()
    runner = Runner(blob)
    download = Download(cast(Any, blob), cast(Any, runner), cast(Any, Store()), stall_seconds=60.0)
    run = asyncio.create_task(download.run())
    await settle()

    runner.piece_arrives(1)
    await settle()
    assert blob.looks == 0

    blob.has_more_to_hash = True
    runner.piece_arrives(0)
    await settle()
    assert blob.looks == 1

    runner.piece_arrives(2)
    await settle()
    assert (run.done(), download.finished, blob.looks) == (True, True, 2)
