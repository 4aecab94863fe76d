"""What a demo shows while it runs: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from kraken.cli.demo.figures import AgentFigures, Result
from kraken.core.pieces import MIB

PLAIN_SECONDS = 2.0
"""Without a terminal a line for every agent appears this often."""


class PullDisplay(Protocol):
    """Shows the pulls of all agents; told again and again how far they are."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None: ...

    def show(self, agents: Sequence[AgentFigures]) -> None: ...


def pull_display(console: Console, agents: Sequence[AgentFigures]) -> PullDisplay:
    """The display that suits the console."""
    return Bars(console, agents) if console.is_terminal else PlainLines(console)


class Bars:
    """A bar for each agent."""

    def __init__(self, console: Console, agents: Sequence[AgentFigures]) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("[green]peers {task.fields[peers]:>6}[/]"),
            TextColumn("[yellow]origins {task.fields[origins]:>6}[/]"),
            TextColumn("{task.fields[rate]:>9}"),
            TextColumn("{task.fields[eta]:>8}"),
            console=console,
            expand=True,
        )
        self._tasks: dict[str, TaskID] = {
            agent.name: self._progress.add_task(agent.name, total=agent.total, **_fields(agent)) for agent in agents
        }

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._progress.stop()

    def show(self, agents: Sequence[AgentFigures]) -> None:
        for agent in agents:
            self._progress.update(self._tasks[agent.name], completed=agent.progress, **_fields(agent))


class PlainLines:
    """A line for each agent from time to time, and one when it is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = time.monotonic() + PLAIN_SECONDS
        self._told: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        return None

    def show(self, agents: Sequence[AgentFigures]) -> None:
        now = time.monotonic()
        due = now >= self._next
        if due:
            self._next = now + PLAIN_SECONDS
        for agent in agents:
            if agent.name not in self._told and (due or agent.done):
                self._line(agent)
            if agent.done:
                self._told.add(agent.name)

    def _line(self, agent: AgentFigures) -> None:
        fields = _fields(agent)
        percent = 100 * agent.progress // max(agent.total, 1)
        self._console.print(
            f"{agent.name}  {percent:3d}%  from peers {fields['peers']} MiB, from origins {fields['origins']} MiB, "
            f"{fields['rate']}, {fields['eta']}",
            highlight=False,
        )


def summary(agents: Sequence[AgentFigures], result: Result) -> Table:
    """The table at the end."""
    table = Table(title=f"{result.agents} agents pulled {result.image_bytes / MIB:.0f} MiB at once")
    for heading in ("agent", "seconds", "MiB/s", "from peers", "digests"):
        table.add_column(heading, justify="left" if heading in ("agent", "digests") else "right")
    for agent in agents:
        verdict = agent.error or ("all right" if agent.done else "not finished")
        table.add_row(
            agent.name, f"{agent.seconds:.2f}", f"{agent.rate / MIB:.0f}", f"{100 * agent.peer_share:.0f} %", verdict
        )
    table.caption = (
        f"origins uploaded {result.origin_copies:.2f} copies; backend reads: {result.backend_reads}; "
        f"{100 * result.peer_byte_share:.0f} % of all bytes came from peers"
    )
    return table


def _fields(agent: AgentFigures) -> dict[str, Any]:
    if agent.done:
        eta = agent.error[:40] or f"{agent.seconds:.1f} s"
    else:
        eta = "ETA ?" if agent.eta is None else f"ETA {agent.eta:.0f} s"
    return {
        "peers": f"{agent.from_peers / MIB:.0f}",
        "origins": f"{agent.from_origins / MIB:.0f}",
        "rate": f"{agent.rate / MIB:.0f} MiB/s",
        "eta": eta,
    }
