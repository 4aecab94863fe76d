"""What a bench gives: figures, as a table for people and JSON for machines."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value: the median of `runs`.

    `against` names the peer or limit of the same run, `mark` is the most that the value may be (in the
    same unit), None where nothing was promised.
    """

    bench: str
    what: str
    unit: str
    runs: tuple[float, ...]
    mark: float | None = None
    against: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.runs)

    @property
    def kept(self) -> bool | None:
        """Whether the mark is kept; None without one."""
        return None if self.mark is None else self.value <= self.mark


def show(figures: Sequence[Figure]) -> None:
    """Print a table."""
    table = Table(title="Kraken, measured")
    for heading in ("bench", "what", "median", "lowest", "highest", "unit", "mark", ""):
        table.add_column(heading, justify="right" if heading in ("median", "lowest", "highest", "mark") else "left")
    for figure in figures:
        verdict = {None: "", True: "kept", False: "MISSED"}[figure.kept]
        mark = "" if figure.mark is None else f"<= {figure.mark:.2f} {figure.against}"
        numbers = (f"{figure.value:.3f}", f"{min(figure.runs):.3f}", f"{max(figure.runs):.3f}")
        table.add_row(figure.bench, figure.what, *numbers, figure.unit, mark, verdict)
    Console(width=160).print(table)


def save(figures: Sequence[Figure], folder: Path) -> Path:
    """Write the figures, with the machine that they are of, as JSON. Returns: the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / time.strftime("%Y%m%d-%H%M%S.json", time.gmtime())
    machine = {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cpu": _cpu(),
    }
    rows = [{**asdict(figure), "value": figure.value, "kept": figure.kept} for figure in figures]
    path.write_text(json.dumps({"machine": machine, "figures": rows}, indent=1) + "\n")
    return path


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
