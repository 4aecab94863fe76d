from __future__ import annotations

import io

from rich.console import Console

from kraken.cli.demo.display import Bars, PlainLines, pull_display, summary
from kraken.cli.demo.figures import AgentFigures, Result
from kraken.core.pieces import MIB

DONE = AgentFigures(
    "agent-1", 10 * MIB, received=10 * MIB, from_peers=8 * MIB, from_origins=2 * MIB, seconds=2.0, done=True
)
HALF = AgentFigures("agent-2", 10 * MIB, received=5 * MIB, from_peers=5 * MIB, seconds=1.0)
RESULT = Result(True, 10 * MIB, 2, 1.5, 2.0, 0.8, 1.25, 0)


def a_console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=120, color_system=None), out


def test_without_a_terminal_there_are_plain_lines_and_each_end_is_told_once() -> None:
    console, out = a_console(terminal=False)

    with pull_display(console, [DONE]) as display:
        display.show([DONE])
        display.show([DONE])

    assert isinstance(display, PlainLines)
    assert out.getvalue() == "agent-1  100%  from peers 8 MiB, from origins 2 MiB, 5 MiB/s, 2.0 s\n"


def test_on_a_terminal_each_agent_has_a_bar() -> None:
    console, out = a_console(terminal=True)

    with pull_display(console, [DONE, HALF]) as display:
        display.show([DONE, HALF])

    assert isinstance(display, Bars)
    last = out.getvalue()
    assert "agent-1" in last
    assert "50%" in last
    assert "ETA 1 s" in last


def test_the_table_tells_every_agent_and_the_origins() -> None:
    console, out = a_console(terminal=False)

    console.print(summary([DONE, HALF], RESULT))

    text = out.getvalue()
    assert "2 agents pulled 10 MiB at once" in text
    assert "80 %" in text
    assert "all right" in text
    assert "not finished" in text
    assert "origins uploaded 1.25 copies" in text
