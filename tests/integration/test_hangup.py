"""SIGHUP: what can be changed while a component runs is read again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.helpers.dev_cluster import SMALL, DevCluster, dev_cluster, fetched
from tests.helpers.tools import wait_until


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    with dev_cluster(tmp_path_factory.mktemp("cluster"), SMALL, processes=True) as running:
        yield running


@pytest.mark.parametrize("name", ["agent-1", "origin-1", "proxy-1"])
def test_a_hangup_takes_over_what_may_change_and_a_mistake_changes_nothing(cluster: DevCluster, name: str) -> None:
    file = cluster.data / "config" / f"{name}.yaml"
    before = file.read_text()
    settings = yaml.safe_load(before)

    def said(event: str) -> int:
        lines = cluster.log.read_text(errors="replace").splitlines()
        return sum(f'"{event}"' in line and f'"{name}"' in line for line in lines)

    def hang_up(event: str) -> None:
        count = said(event)
        os.kill(cluster[name].pid, signal.SIGHUP)
        wait_until(lambda: said(event) > count, f"{name} says {event}")

    if name != "proxy-1":
        file.write_text(yaml.safe_dump(settings | {"bandwidth": {"send_bytes_per_second": "1MiB"}}))
    hang_up("settings_read")
    file.write_text(yaml.safe_dump(settings | {"bandwith": {}}))
    hang_up("settings_refused")
    Path(file).write_text(before)
    hang_up("settings_read")

    assert fetched(cluster[name].http, "/healthz")
