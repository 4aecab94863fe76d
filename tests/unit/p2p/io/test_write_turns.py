"""Who writes next, and what becomes of those that wait when nothing is written any more."""

from __future__ import annotations

import asyncio

from kraken.core.metainfo import SwarmId
from kraken.p2p.io.write_turns import Write, WriteTurns

BIG, OTHER, SMALL = (SwarmId(bytes([number]) * 20) for number in range(3))


class Disk:
    """Threads that finish when the test says so; what they have begun with, in order, and how each write ended."""

    def __init__(self, places: int) -> None:
        self.turns = WriteTurns(places)
        self.begun: list[str] = []
        self.outcomes: dict[str, asyncio.Future[bool]] = {}
        self.heard: dict[str, str] = {}

    def write(self, name: str, swarm: SwarmId, rank: int) -> None:
        def begin() -> asyncio.Future[bool]:
            self.begun.append(name)
            self.outcomes[name] = asyncio.get_running_loop().create_future()
            return self.outcomes[name]

        def ended(outcome: asyncio.Future[bool]) -> None:
            self.heard[name] = "dropped" if outcome.cancelled() else str(outcome.exception() or outcome.result())

        self.turns.add(Write(begin, ended), swarm, rank, 100)

    async def finish(self, name: str) -> None:
        self.outcomes[name].set_result(True)
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_small_blobs_are_written_first_then_the_swarms_in_turn_and_never_more_than_there_are_threads() -> None:
    disk = Disk(places=2)
    for number in range(4):
        disk.write(f"big {number}", BIG, 1)
    for number in range(2):
        disk.write(f"other {number}", OTHER, 1)
    disk.write("small", SMALL, 0)
    assert (disk.begun, disk.turns.waiting) == (["big 0", "big 1"], 5)

    for at in range(7):
        await disk.finish(disk.begun[at])

    assert disk.begun == ["big 0", "big 1", "small", "other 0", "big 2", "other 1", "big 3"]
    assert disk.turns.waiting == 0
    assert disk.heard == dict.fromkeys(disk.begun, "True")


async def test_a_write_that_fails_gives_its_turn_to_the_next() -> None:
    disk = Disk(places=1)
    disk.write("first", BIG, 1)
    disk.write("second", BIG, 1)

    disk.outcomes["first"].set_exception(OSError("disk"))
    await settle()

    assert (disk.begun, disk.heard) == (["first", "second"], {"first": "disk"})
    await disk.finish("second")


async def test_closing_drops_what_waits_and_waits_for_what_has_begun() -> None:
    disk = Disk(places=1)
    for name in ("begun", "waits", "waits too"):
        disk.write(name, BIG, 1)

    closing = asyncio.create_task(disk.turns.close())
    await settle()
    assert (closing.done(), disk.heard) == (False, {"waits": "dropped", "waits too": "dropped"})
    await disk.finish("begun")
    await closing

    assert (disk.begun, disk.heard["begun"]) == (["begun"], "True")
