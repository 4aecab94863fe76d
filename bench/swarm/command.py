"""Let agents with links of their own pull one blob, or an image, at once; and ask the simulator how quickly they would.

Wants root, iproute2 and curl. Nothing that it makes outlives it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

from bench.swarm.forecast import Surroundings, forecast
from bench.swarm.measuring import measure
from bench.swarm.namespaces import payload_rate
from bench.swarm.report import Report, Setting, show
from bench.swarm.touched_memory import available, files_in_memory, have_own_mounts
from kraken.core.errors import Invalid
from kraken.core.pieces import KIB
from kraken.sim import units

IMAGE = tuple(size * KIB for size in (32768, 98304, 4096, 24576, 512, 65536, 12288, 1536, 16384, 6144))
"""Bytes of the layers of an image, 256 MiB in all: a base, a large layer of libraries, and what goes on top."""


def main(arguments: Sequence[str]) -> None:
    """Run the crowd as often as asked. Raises: SystemExit, for arguments that are wrong."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        layers = IMAGE[: options.image] if options.image else (units.size(options.blob),)
    except Invalid as error:
        parser.error(str(error))
    line, payload = options.mbit * 1e6 / 8, payload_rate(options.mbit * 1e6)
    reports = []
    if options.in_memory:
        wanted, there = options.hosts * sum(layers), available()
        if wanted > there:
            parser.error(f"--in-memory: the hosts pull {wanted} bytes, and {there} are available; take fewer or less")
        have_own_mounts()
    with _stoppable():
        for seed in range(options.seed, options.seed + options.repeat):
            ideal = sum(layers) / payload
            setting = Setting(options.hosts, options.origins, layers, options.arrivals, seed, line, payload, ideal)
            reports.append(_report(setting, options.folder, in_memory=options.in_memory))
    if options.json:
        json.dump([each.as_dict() for each in reports], sys.stdout, indent=1)
        print()
    else:
        show(reports)


def _report(setting: Setting, parent: Path | None, *, in_memory: bool) -> Report:
    folder = Path(tempfile.mkdtemp(prefix="kraken-swarm-", dir=parent))
    try:
        with files_in_memory(folder) if in_memory else nullcontext():
            real, costs = measure(setting, folder, in_memory=in_memory)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    per_byte = costs.cpu_seconds_per_gb / 1e9
    forecasts = [forecast("forecast, idle", setting, Surroundings(costs.idle_round_trip, per_byte))]
    if costs.loaded_round_trip:
        loaded = Surroundings(costs.loaded_round_trip, per_byte, costs.resent)
        forecasts.append(forecast("forecast, loaded", setting, loaded))
    return Report(setting, real, tuple(forecasts), costs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench swarm", description=__doc__)
    parser.add_argument("--hosts", type=int, default=10, help="agents that pull; 10")
    parser.add_argument("--mbit", type=float, default=20.0, help="of each host's and origin's link, each way; 20")
    parser.add_argument("--blob", default="20MiB", help="size of the blob; 20MiB")
    parser.add_argument(
        "--image",
        type=int,
        choices=range(1, len(IMAGE) + 1),
        metavar="N",
        help="instead: the first N of 10 layers of an image",
    )
    parser.add_argument("--arrivals", type=float, default=0.0, help="seconds within which clients begin; 0")
    parser.add_argument("--origins", type=int, default=3)
    parser.add_argument(
        "--seed", type=int, default=1, help="of bytes, arrivals and forecast; each repetition takes the next"
    )
    parser.add_argument("--repeat", type=int, default=1, help="how many runs, each with a cluster of its own")
    parser.add_argument(
        "--folder", type=Path, help="where data goes while it runs: a copy for each host and three more"
    )
    parser.add_argument(
        "--in-memory",
        action="store_true",
        help="data goes to memory, of which as much as all hosts get is touched before: a virtual machine that gets it "
        "late is not what is measured then",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM and Ctrl-C end the run with everything stopped and removed, also in a shell's background.

    Raises: SystemExit, then.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)  # which asyncio turns into a cancellation

    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: interrupt}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
