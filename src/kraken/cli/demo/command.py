"""`kraken demo` from beginning to end. Everything it writes lies in one temporary directory, which it removes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import aiohttp
from rich.console import Console

from kraken.cli.cluster import (
    check_ports,
    components_of,
    free_base_port,
    load_settings,
    wait_until_ready,
    write_configs,
)
from kraken.cli.demo.display import PullDisplay, pull_display, summary
from kraken.cli.demo.figures import AgentFigures, Result, note_sources, read_samples, result_of
from kraken.cli.demo.image import Image, build_image
from kraken.cli.demo.registry import Repository, client_session, pull, push
from kraken.cli.kinds import Kind
from kraken.cli.layout import Counts, Member, Plan, plan
from kraken.core.errors import BadConfig, KrakenError, Unavailable
from kraken.core.pieces import GIB, MIB
from kraken.observability.logs import LogLevel, LogSettings, configure
from kraken.runtime.component import running

REPOSITORY = "demo/machine"
TAG = "latest"

_FAILURES = (KrakenError, aiohttp.ClientError, TimeoutError, OSError)
"""What can happen to a push or a pull, apart from bugs."""

_SHOW_SECONDS = 0.4
_ORIGINS = 3
_PORTS_EACH = 2
_MEMBERS_BESIDES_AGENTS = 8


def run(agents: int, image_mib: int) -> int:
    """Run the demo.

    Returns: the exit code: 0 when every byte of every pull was right.
    """
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    configure(LogSettings(level=LogLevel.WARNING))
    with _scratch(image_mib * MIB * (1 + _ORIGINS + agents)) as directory:
        result = asyncio.run(_until_signal(Demo(console, directory, agents, image_mib * MIB)))
    if result is None:
        console.print("stopped")
        return 1
    sys.stdout.write(json.dumps(dataclasses.asdict(result)) + "\n")
    sys.stdout.flush()
    return 0 if result.ok else 1


class Demo:
    """One run: a cluster, an image, a push, pulls, and their figures."""

    def __init__(self, console: Console, directory: Path, agents: int, image_bytes: int) -> None:
        self._console = console
        self._directory = directory
        self._agents = agents
        self._image_bytes = image_bytes

    async def run(self) -> Result:
        """The outcome. Raises: KrakenError, when it did not even come to the pulls."""
        counts = Counts(origins=_ORIGINS, trackers=2, indexes=2, proxies=1, agents=self._agents)
        base_port = free_base_port(_PORTS_EACH * (self._agents + _MEMBERS_BESIDES_AGENTS))
        cluster = plan(counts, base_port, self._directory)
        check_ports(cluster)
        files = write_configs(cluster, {}, self._directory)
        components = components_of(cluster, load_settings(cluster, files))
        async with running(components), client_session() as session:
            await self._wait_until_ready(cluster)
            image = await self._build()
            await self._push(session, cluster, image)
            return await self._pull(session, cluster, image)

    async def _wait_until_ready(self, cluster: Plan) -> None:
        unready = await wait_until_ready(cluster.members)
        if unready:
            raise Unavailable("; ".join(f"{name} is not ready: {reason}" for name, reason in unready.items()))
        kinds = ", ".join(f"{len(cluster.of(kind))} {kind}" for kind in Kind)
        self._console.print(f"A cluster runs in this process: {kinds}")

    async def _build(self) -> Image:
        folder = self._directory / "image"
        folder.mkdir()
        self._console.print("Building an image from files of this machine ...")
        begun = time.monotonic()
        stop = threading.Event()
        try:
            image = await asyncio.to_thread(build_image, folder, self._image_bytes, stop=stop)
        finally:
            stop.set()  # a thread cannot be cancelled
        sizes = ", ".join(_human(blob.size) for blob in image.blobs[1:])
        self._console.print(f"Built {_human(image.size)} in {time.monotonic() - begun:.1f} s; layers: {sizes}")
        return image

    async def _push(self, session: aiohttp.ClientSession, cluster: Plan, image: Image) -> None:
        proxy = cluster.of(Kind.PROXY)[0]
        begun = time.monotonic()
        try:
            await push(Repository(session, proxy.http, REPOSITORY), image, TAG)
        except* _FAILURES as failures:
            raise Unavailable(f"the push failed: {_told(failures)}") from failures
        seconds = time.monotonic() - begun
        self._console.print(
            f"Pushed to {proxy.http}/{REPOSITORY}:{TAG} in {seconds:.1f} s ({image.size / MIB / seconds:.0f} MiB/s, "
            f"each blob on {len(cluster.of(Kind.ORIGIN))} origins)"
        )

    async def _pull(self, session: aiohttp.ClientSession, cluster: Plan, image: Image) -> Result:
        members = cluster.of(Kind.AGENT)
        agents = [AgentFigures(member.name, image.size) for member in members]
        self._console.print(f"{len(agents)} agents pull it at once:")
        with pull_display(self._console, agents) as display:
            begun = time.monotonic()
            showing = asyncio.create_task(_show(session, members, agents, display, begun))
            try:
                pulls = zip(members, agents, strict=True)
                await asyncio.gather(*(_pull_one(session, member, agent, image, begun) for member, agent in pulls))
            finally:
                showing.cancel()
                await asyncio.wait({showing})
            await _note_all(session, members, agents)
            display.show(agents)
        origins = await read_samples(session, [member.http for member in cluster.of(Kind.ORIGIN)])
        result = result_of(image.size, agents, origins)
        self._console.print(summary(agents, result))
        return result


async def _pull_one(
    session: aiohttp.ClientSession, member: Member, agent: AgentFigures, image: Image, begun: float
) -> None:
    def more(count: int) -> None:
        agent.received += count

    try:
        digest = await pull(Repository(session, member.http, REPOSITORY), TAG, more)
        if digest != image.digest:
            agent.error = f"the manifest is {digest}, pushed was {image.digest}"
        elif agent.received != image.size:
            agent.error = f"{agent.received} bytes instead of {image.size}"
    except* _FAILURES as failures:
        agent.error = _told(failures)
    agent.seconds = time.monotonic() - begun
    agent.done = True


def _told(failures: BaseExceptionGroup[BaseException]) -> str:
    return "; ".join(str(failure) or type(failure).__name__ for failure in failures.exceptions)


async def _show(
    session: aiohttp.ClientSession,
    members: Sequence[Member],
    agents: Sequence[AgentFigures],
    display: PullDisplay,
    begun: float,
) -> None:
    while True:
        await _note_all(session, members, agents)
        for agent in agents:
            if not agent.done:
                agent.seconds = time.monotonic() - begun
        display.show(agents)
        await asyncio.sleep(_SHOW_SECONDS)


async def _note_all(session: aiohttp.ClientSession, members: Sequence[Member], agents: Sequence[AgentFigures]) -> None:
    readings = await read_samples(session, [member.http for member in members])
    for agent, samples in zip(agents, readings, strict=True):
        note_sources(agent, samples)


async def _until_signal(demo: Demo) -> Result | None:
    """The outcome, or None when a signal ended the demo before."""
    work = asyncio.create_task(demo.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    await asyncio.wait({work})
    return None if work.cancelled() else work.result()


@contextmanager
def _scratch(needed: int) -> Iterator[Path]:
    """A temporary directory with room for everything, gone afterwards.

    Raises: BadConfig, when no place for temporary files has that much room.
    """
    places = [os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp", "."]  # noqa: S108 - mkdtemp makes a private one inside
    needed += needed // 4
    place = next((place for place in places if place and _free(place) >= needed), None)
    if place is None:
        raise BadConfig(f"the demo needs {needed / GIB:.1f} GiB for a while; set TMPDIR to a place that has them")
    directory = Path(tempfile.mkdtemp(prefix="kraken-demo-", dir=place)).absolute()
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _free(place: str) -> int:
    try:
        return shutil.disk_usage(place).free
    except OSError:
        return 0


def _human(size: int) -> str:
    return f"{size / MIB:.1f} MiB" if size >= MIB // 10 else f"{size / 1024:.1f} KiB"
