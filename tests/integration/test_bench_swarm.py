"""`python -m bench swarm` with few hosts: what it tells is possible, and nothing of it is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.tools import environment, require, require_root, wait_until

HOSTS = 4
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _needs() -> None:
    require("ip", "tc", "ss", "curl")
    require_root("make network namespaces")


def command(folder: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "bench", "swarm", "--hosts", str(HOSTS), "--folder", str(folder), "--json", *options]


def environ() -> dict[str, str]:
    return environment(PYTHONPATH=os.pathsep.join((str(ROOT / "src"), str(ROOT))))


def measured(folder: Path, *options: str) -> dict[str, Any]:
    done = subprocess.run(
        command(folder, *options), cwd=ROOT, env=environ(), capture_output=True, text=True, check=False, timeout=90
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)[0]
    return report


def namespaces_by_command() -> dict[str, set[str]]:
    """The network namespace of every process, by its command line."""
    found: dict[str, set[str]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found.setdefault(line, set()).add(os.readlink(path / "ns" / "net"))
        except OSError:
            continue  # it has ended meanwhile
    return found


def used_by(folder: Path) -> set[str]:
    """The namespaces of the processes that have to do with a folder."""
    return set().union(*(spaces for line, spaces in namespaces_by_command().items() if str(folder) in line))


def in_use() -> set[str]:
    return set().union(*namespaces_by_command().values())


def test_every_host_gets_the_blob_through_its_own_link(tmp_path: Path) -> None:
    report = measured(tmp_path, "--mbit", "80", "--blob", "8MiB", "--origins", "2", "--in-memory")

    real, costs = report["real"], report["costs"]
    assert real["unfinished"] == 0
    assert 0.0 < real["p99"] <= real["p50"] <= 1.05, "a host is not quicker than its link, but for what tbf lets burst"
    assert 0.9 < real["origin_copies"] < HOSTS
    assert real["busiest_origin_copies"] <= real["origin_copies"]
    assert 0.0 <= real["duplicate_percent"] < 50.0
    assert all(0.0 < each["p50"] <= 1.0 for each in report["forecasts"])
    assert report["setting"]["payload_rate"] < report["setting"]["line_rate"]
    assert costs["cpu_seconds_per_gb"] > 0.0
    assert 0.0 <= costs["resent"] < 0.5
    assert 0 < costs["peak_rss_median"] <= costs["peak_rss_max"]
    assert not used_by(tmp_path)
    assert not list(tmp_path.iterdir())
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


def test_a_run_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        command(tmp_path, "--mbit", "20", "--blob", "8MiB", "--origins", "1", "--in-memory"),
        cwd=ROOT,
        env=environ(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as running:
        wait_until(lambda: len(used_by(tmp_path)) > HOSTS, "agents run in namespaces of their own")
        spaces = used_by(tmp_path)
        running.send_signal(signal.SIGTERM)
        _, errors = running.communicate(timeout=60)

    assert running.returncode == 128 + signal.SIGINT, errors
    assert not used_by(tmp_path)
    assert not spaces & in_use()
    assert not list(tmp_path.iterdir())
