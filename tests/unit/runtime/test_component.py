from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from kraken.core.errors import BadConfig
from kraken.core.peers import Address
from kraken.runtime.component import running, serve


class Recorded:
    """A component that writes down what is done with it."""

    def __init__(self, name: str, story: list[str], error: Exception | None = None) -> None:
        self.name = name
        self._story = story
        self._error = error

    kind = "tracker"
    data: Path | None = None
    http = Address("127.0.0.1", 1)
    peer: Address | None = None

    async def start(self) -> None:
        self._story.append(f"start {self.name}")
        if self._error is not None:
            raise self._error

    async def stop(self) -> None:
        self._story.append(f"stop {self.name}")


async def test_components_start_in_order_and_stop_in_reverse() -> None:
    story: list[str] = []

    async with running([Recorded("a", story), Recorded("b", story)]):
        story.append("work")

    assert story == ["start a", "start b", "work", "stop b", "stop a"]


async def test_when_one_fails_to_start_it_and_all_before_it_are_stopped() -> None:
    story: list[str] = []
    broken = Recorded("b", story, BadConfig("the port is in use"))

    with pytest.raises(BadConfig, match="in use"):
        await serve([Recorded("a", story), broken, Recorded("c", story)])

    assert story == ["start a", "start b", "stop b", "stop a"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_everything(number: signal.Signals) -> None:
    story: list[str] = []

    async def ready() -> None:
        story.append("ready")
        os.kill(os.getpid(), number)

    await serve([Recorded("a", story), Recorded("b", story)], ready)

    assert story == ["start a", "start b", "ready", "stop b", "stop a"]
