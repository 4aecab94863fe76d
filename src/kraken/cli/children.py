"""Components in processes of their own, seen from the process that started them.

A child dies with its parent, however the parent dies: the kernel sends it SIGTERM.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from pathlib import Path

from kraken.cli.cluster import READY_SECONDS, wait_until_answering
from kraken.cli.layout import Member
from kraken.core.errors import BadConfig
from kraken.core.peers import Address
from kraken.observability.events import Event
from kraken.observability.logs import get_logger

STOP_SECONDS = 40.0
"""A child that has not drained by then is killed; longer than http.drain_seconds."""

_PR_SET_PDEATHSIG = 1


class Child:
    """A member of the cluster as a process. It has the shape of a component, so it is started and stopped like one."""

    def __init__(self, member: Member, config: Path, environ: dict[str, str]) -> None:
        self._member = member
        self._config = config
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def kind(self) -> str:
        return self._member.kind.value

    @property
    def name(self) -> str:
        return self._member.name

    @property
    def data(self) -> Path | None:
        return self._member.data

    @property
    def http(self) -> Address:
        return self._member.http

    @property
    def peer(self) -> Address | None:
        return self._member.peer

    @property
    def pid(self) -> int:
        """Raises: BadConfig, when it has not started."""
        if self._process is None:
            raise BadConfig(f"{self.name} has not started")
        return self._process.pid

    async def start(self) -> None:
        """Start the process. It is not waited for, so that all of them start at the same time; see `answer`."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "kraken",
            self.kind,
            "--config",
            str(self._config),
            env=self._environ,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C in the terminal is for the parent, which stops the children in order
            preexec_fn=_DyingWith(os.getpid()),
        )
        self._watch = asyncio.create_task(self._report_end(self._process))

    async def answer(self) -> None:
        """Wait until the process answers.

        Raises: BadConfig, when it ends instead; it has said why on standard error.
        """
        if self._process is None:
            raise BadConfig(f"{self.name} has not started")
        answering = asyncio.create_task(wait_until_answering(self.http, READY_SECONDS))
        ending = asyncio.create_task(self._process.wait())
        try:
            await asyncio.wait({answering, ending}, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                raise BadConfig(f"{self.name} ended with exit code {ending.result()} instead of starting")
            if not answering.result():
                raise BadConfig(f"{self.name} did not answer within {READY_SECONDS:g} seconds")
        finally:
            answering.cancel()
            ending.cancel()

    async def stop(self) -> None:
        """Let it drain; kill it when that takes too long."""
        self._stopping = True
        if self._watch is not None:
            self._watch.cancel()
        if self._process is None or self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _report_end(self, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        if not self._stopping:
            get_logger(self.kind, self.name).error(Event.COMPONENT_EXITED, pid=process.pid, code=code)


class _DyingWith:
    """Runs in the child between fork and exec: asks the kernel for SIGTERM at the parent's death."""

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up before the fork

    def __call__(self) -> None:
        self._prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != self._parent:  # it died before the kernel knew
            os._exit(1)
