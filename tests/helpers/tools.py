"""Real programs as tests use them: which must be there, and how they are run and ended.

A test whose program is missing is skipped, and says so; where CI is set it fails instead.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"))
_POLL_SECONDS = 0.02
_DROPPED = ("KRAKEN_", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "DOCKER_", "CONTAINER")


def require(*programs: str) -> None:
    """Go on only when these programs are installed."""
    missing = [name for name in programs if shutil.which(name, path=_PATH) is None]
    if missing:
        _lacking(f"not installed: {', '.join(missing)} (scripts/install-test-packages)")


def require_root(why: str) -> None:
    """Go on only as root."""
    if os.geteuid() != 0:
        _lacking(f"only root may {why}")


def _lacking(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{what}; in CI nothing is skipped")
    pytest.skip(what)


def environment(**more: str) -> dict[str, str]:
    """The environment of a child: ours, without what would change how it behaves."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(_DROPPED)}
    return kept | {"PATH": _PATH} | more


def output_of(*command: str | Path, env: Mapping[str, str] | None = None, seconds: float = 90.0) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        list(map(str, command)),
        env=dict(env or environment()),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def kraken(*arguments: str | Path) -> list[str]:
    """The command line of `kraken`."""
    return [sys.executable, "-m", "kraken", *map(str, arguments)]


class Process:
    """A child of the test. Both its streams go to the end of `log`, or its output to a file of its own."""

    def __init__(
        self, command: list[str], log: Path, *, out: Path | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        with log.open("ab") as errors, (out or log).open("ab") as output:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=dict(env or environment())
            )
        self.log = log

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._child.poll()

    def send(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    def wait(self, seconds: float = 60.0) -> int:
        return self._child.wait(seconds)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._child.kill()
        self._child.wait()

    def stop(self, seconds: float = 60.0) -> int:
        """Ask it to end, and wait; kill it if it does not. Returns: its exit code."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGCONT)
            self._child.terminate()
            try:
                self._child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._child.returncode


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """The process does nothing for as long as the block lasts."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if is_alive(pid):
            os.kill(pid, signal.SIGCONT)


def thaw(pid: int) -> None:
    """End `frozen` before its block ends."""
    os.kill(pid, signal.SIGCONT)


def spoil(path: Path, at: int) -> None:
    """Change one byte of a file, as a bad disk would."""
    fd = os.open(path, os.O_RDWR)
    try:
        (byte,) = os.pread(fd, 1, at)
        os.pwrite(fd, bytes([byte ^ 0xFF]), at)
    finally:
        os.close(fd)


def is_alive(pid: int) -> bool:
    """Whether the process runs, or is stopped; one that has ended and was not waited for counts as dead."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def wait_until(check: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Return as soon as `check` gives something true; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"within {seconds:g} seconds: {what}"
        time.sleep(_POLL_SECONDS)


async def until(check: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """`wait_until`, while other tasks go on."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"within {seconds:g} seconds: {what}"
        await asyncio.sleep(_POLL_SECONDS)


@contextmanager
def small_disk(directory: Path, size: int) -> Iterator[Path]:
    """A file system of `size` bytes of its own at `directory`."""
    require("mount", "umount")
    require_root("mount a file system")
    directory.mkdir(parents=True, exist_ok=True)
    output_of("mount", "-t", "tmpfs", "-o", f"size={size}", "kraken-test", directory)
    try:
        yield directory
    finally:
        output_of("umount", "--lazy", directory)
