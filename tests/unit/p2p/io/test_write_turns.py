"""Who writes next, among tasks."""

from __future__ import annotations

import asyncio

import pytest

from kraken.core.metainfo import SwarmId
from kraken.p2p.io.write_turns import WriteTurns

BIG, OTHER, SMALL = (SwarmId(bytes([number]) * 20) for number in range(3))


class Disk:
    """Threads that finish when the test says so, and the names of those that they have begun with, in order."""

    def __init__(self, places: int) -> None:
        self.turns = WriteTurns(places)
        self.begun: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    async def write(self, name: str, swarm: SwarmId, rank: int, size: int = 100) -> None:
        gate = self.gates[name] = asyncio.Event()
        async with self.turns.turn(swarm, rank, size):
            self.begun.append(name)
            await gate.wait()

    async def finish(self, name: str) -> None:
        self.gates[name].set()
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_small_blobs_are_written_first_then_the_swarms_in_turn_and_never_more_than_there_are_threads() -> None:
    disk = Disk(places=2)
    async with asyncio.TaskGroup() as tasks:
        for number in range(4):
            tasks.create_task(disk.write(f"big {number}", BIG, 1))
        for number in range(2):
            tasks.create_task(disk.write(f"other {number}", OTHER, 1))
        tasks.create_task(disk.write("small", SMALL, 0))
        await settle()
        assert (disk.begun, disk.turns.waiting) == (["big 0", "big 1"], 5)

        for at in range(7):
            await disk.finish(disk.begun[at])

    assert disk.begun == ["big 0", "big 1", "small", "other 0", "big 2", "other 1", "big 3"]
    assert disk.turns.waiting == 0


@pytest.mark.parametrize("victim", ["first", "second"])
async def test_whoever_is_cancelled_writing_or_waiting_takes_no_turn_along(victim: str) -> None:
    disk = Disk(places=1)
    tasks = {name: asyncio.create_task(disk.write(name, BIG, 1)) for name in ("first", "second", "third")}
    await settle()

    tasks[victim].cancel()
    await settle()
    for _ in range(2):
        await disk.finish(disk.begun[-1])

    assert disk.begun == [name for name in tasks if name != victim or name == "first"]
    assert tasks["third"].done()


@pytest.mark.parametrize("before", [True, False])
async def test_who_is_cancelled_in_the_moment_in_which_its_turn_comes_gives_it_to_the_next(before: bool) -> None:
    disk = Disk(places=1)
    tasks = {name: asyncio.create_task(disk.write(name, BIG, 1)) for name in ("first", "second", "third")}
    await settle()

    disk.gates["first"].set()
    if before:
        tasks["second"].cancel()
    else:
        tasks["first"].add_done_callback(lambda _: tasks["second"].cancel())
    await settle()
    await settle()

    assert disk.begun[-1] == "third"
    await disk.finish("third")
    assert all(task.done() for task in tasks.values())
    assert tasks["first"].exception() is None
