"""`kraken dev` as a child process, with a test's view into it: endpoints, metrics, log, data directories."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.helpers.ports import free_ports
from tests.helpers.tools import Process, is_alive, kraken, wait_until

from kraken.cli.layout import Counts
from kraken.core.digest import Digest
from kraken.core.peers import Address

SMALL = Counts(origins=2, trackers=1, indexes=1, proxies=1, agents=2)

_TRIES = 5
_START_SECONDS = 90.0


@dataclass(slots=True)
class Endpoint:
    """One component of a running cluster."""

    component: str
    name: str
    http: Address
    peer: Address | None
    pid: int
    data: Path


class DevCluster:
    """A running cluster. `restart` and `start_again` bring back what was ended, on the same data and ports."""

    def __init__(self, data: Path, base_port: int, flags: tuple[str, ...]) -> None:
        self.data = data
        self.log = data / "dev.log"
        self._base_port = base_port
        self._flags = flags
        self._alone: dict[str, Process] = {}
        self.process: Process = self._started()
        self.members: dict[str, Endpoint] = self._endpoints()

    def __getitem__(self, name: str) -> Endpoint:
        return self.members[name]

    def of(self, component: str) -> list[Endpoint]:
        """All members of a kind."""
        return [member for member in self.members.values() if member.component == component]

    @property
    def proxy(self) -> Address:
        return self["proxy-1"].http

    @property
    def agent(self) -> Address:
        return self["agent-1"].http

    # What can be seen.

    def metric(self, name: str, sample: str, /, **labels: str) -> float:
        """A sample of a component; 0.0 when there is none. Labels that are not named are summed over."""
        families = text_string_to_metric_families(fetched(self[name].http, "/metrics").decode())
        return sum(
            each.value
            for family in families
            for each in family.samples
            if each.name == sample and labels.items() <= each.labels.items()
        )

    def total(self, component: str, sample: str, /, **labels: str) -> float:
        """A sample, summed over all members of a kind."""
        return sum(self.metric(member.name, sample, **labels) for member in self.of(component))

    def events(self, event: str, /, **fields: object) -> list[dict[str, Any]]:
        """The lines of the log with this event and these fields, the oldest first."""
        lines = []
        for text in self.log.read_text(errors="replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and line.get("event") == event and fields.items() <= line.items():
                lines.append(line)
        return lines

    def blob_path(self, name: str, digest: Digest) -> Path:
        """Where a component keeps a complete blob."""
        return self[name].data / "blobs" / digest.algorithm.value / digest.encoded[:2] / digest.encoded

    def partial_path(self, name: str, digest: Digest) -> Path:
        """Where a component keeps a blob that it does not have whole."""
        return self[name].data / "partial" / f"{digest.algorithm.value}-{digest.encoded}"

    def stored_files(self, component: str) -> set[str]:
        """Every file below the data directories of a kind that has any bytes."""
        return {
            str(path.relative_to(self.data))
            for member in self.of(component)
            for path in member.data.rglob("*")
            if has_bytes(path)
        }

    def crashes(self) -> float:
        """Background tasks that ended by an exception, in all components."""
        return sum(self.metric(name, "kraken_task_crashes_total") for name in self.members)

    # What can be done to it.

    def kill(self, name: str) -> None:
        """End one process, as a power cut would. Only for a cluster of processes."""
        self._end(name, signal.SIGKILL)

    def stop(self, name: str) -> None:
        """Let one process drain and end."""
        self._end(name, signal.SIGTERM)

    def start_again(self, name: str) -> None:
        """Start one process on its configuration and data."""
        member = self[name]
        config = self.data / "config" / f"{name}.yaml"
        process = Process(kraken(member.component, "--config", config), self.log)
        self._alone[name] = process
        member.pid = process.pid
        wait_until(lambda: is_ready(member.http) or process.exit_code is not None, f"{name} is ready")
        assert process.exit_code is None, f"{name} ended with {process.exit_code}\n{tail(self.log)}"

    def kill_all(self) -> None:
        """End every process of the cluster, as a power cut would."""
        for pid in {self.process.pid, *(member.pid for member in self.members.values())}:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        for member in self.members.values():
            wait_until(lambda pid=member.pid: not is_alive(pid), f"{member.name} is gone")  # type: ignore[misc]

    def restart(self) -> None:
        """Start the whole cluster again on its data."""
        self.process = self._started()
        self.members = self._endpoints()

    def close(self) -> None:
        """Stop everything, and make sure that it is gone."""
        for process in self._alone.values():
            process.stop()
        code = self.process.stop()
        leftover = [member.name for member in self.members.values() if is_alive(member.pid)]
        for name in leftover:
            os.kill(self[name].pid, signal.SIGKILL)
        assert not leftover, f"still running after the end of kraken dev: {leftover}\n{tail(self.log)}"
        assert code in (0, -signal.SIGKILL), f"kraken dev ended with {code}\n{tail(self.log)}"

    def _end(self, name: str, number: signal.Signals) -> None:
        pid = self[name].pid
        assert pid != self.process.pid, "only a component in its own process can be ended alone"
        os.kill(pid, number)
        if name in self._alone:
            self._alone.pop(name).wait()
        wait_until(lambda: not is_alive(pid), f"{name} is gone")

    def _started(self) -> Process:
        out = self.data / "dev.out"
        out.unlink(missing_ok=True)
        command = kraken("dev", "--data", self.data, "--base-port", str(self._base_port), *self._flags)
        process = Process(command, self.log, out=out)
        try:
            wait_until(
                lambda: process.exit_code is not None or "containerd" in out.read_text(), "ready", _START_SECONDS
            )
        except BaseException:
            process.stop()
            raise
        if process.exit_code is not None:
            raise NotStarted(process.exit_code, tail(self.log))
        return process

    def _endpoints(self) -> dict[str, Endpoint]:
        entries = json.loads((self.data / "endpoints.json").read_text())
        return {
            entry["name"]: Endpoint(
                entry["component"],
                entry["name"],
                Address.parse(entry["http"]),
                None if entry["peer"] is None else Address.parse(entry["peer"]),
                entry["pid"],
                Path(entry["data"]),
            )
            for entry in entries
        }


class NotStarted(AssertionError):
    """`kraken dev` ended instead of becoming ready."""

    def __init__(self, code: int, log: str) -> None:
        super().__init__(f"kraken dev ended with {code}\n{log}")
        self.port_taken = "in use" in log


@contextmanager
def dev_cluster(
    data: Path,
    counts: Counts = SMALL,
    *,
    processes: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[DevCluster]:
    """A cluster on free ports, gone at the end of the block.

    Args: settings, by component and key, as `kraken dev --config` takes them.
    """
    data.mkdir(parents=True, exist_ok=True)
    overlay = data / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(dict(settings or {})))
    flags = [*_flags(counts), *(["--processes"] if processes else [])]
    if settings:
        flags += ["--config", str(overlay)]
    cluster = _cluster(data, tuple(flags), sum(_sizes(counts).values()) + counts.origins + counts.agents)
    try:
        yield cluster
    finally:
        cluster.close()


def _cluster(data: Path, flags: tuple[str, ...], ports: int) -> DevCluster:
    for _ in range(_TRIES - 1):
        try:
            return DevCluster(data, free_ports(ports), flags)
        except NotStarted as error:  # another test may have taken a port in the meantime
            if not error.port_taken:
                raise
            (data / "dev.log").unlink()
    return DevCluster(data, free_ports(ports), flags)


def fetched(address: Address, path: str) -> bytes:
    """What a component answers to a GET."""
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
        data: bytes = answer.read()
    return data


def is_ready(address: Address) -> bool:
    try:
        fetched(address, "/readyz")
    except (OSError, urllib.error.URLError):
        return False
    return True


def has_bytes(path: Path) -> bool:
    """Whether it is a file, and not an empty one; it may go away meanwhile."""
    try:
        return path.is_file() and path.stat().st_size > 0
    except FileNotFoundError:
        return False


def tail(log: Path, lines: int = 40) -> str:
    """The end of a log, for the message of a failure."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _sizes(counts: Counts) -> dict[str, int]:
    return {
        "origins": counts.origins,
        "trackers": counts.trackers,
        "indexes": counts.indexes,
        "proxies": counts.proxies,
        "agents": counts.agents,
    }


def _flags(counts: Counts) -> list[str]:
    return [word for name, count in _sizes(counts).items() for word in (f"--{name}", str(count))]
