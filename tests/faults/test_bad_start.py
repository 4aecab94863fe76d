"""Starts that cannot work: one clear line, exit code 2, and no trace of a traceback."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.helpers.dev_cluster import fetched
from tests.helpers.ports import free_ports
from tests.helpers.tools import Process, environment, kraken, output_of, small_disk, wait_until

from kraken.core.peers import Address

KINDS = ["agent", "origin", "tracker", "index", "proxy"]
WITH_DATA = ["agent", "origin", "index"]
WITH_PEERS = ["agent", "origin"]


def a_config(directory: Path, kind: str, **settings: Any) -> Path:
    """A configuration that works, but for what `settings` says."""
    base = free_ports(2)
    whole: dict[str, Any] = {
        "component": kind,
        "http": {"listen": f"127.0.0.1:{base}"},
        **({"peer": {"listen": f"127.0.0.1:{base + 1}"}} if kind in WITH_PEERS else {}),
        **({"data": str(directory / "data")} if kind in WITH_DATA else {}),
        **settings,
    }
    path = directory / f"{kind}.yaml"
    path.write_text(yaml.safe_dump(whole))
    return path


def refusal(kind: str, config: Path) -> str:
    """What `kraken <kind>` says on standard error when it cannot start: one line, beside those of the log."""
    done = subprocess.run(
        kraken(kind, "--config", config), env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert len(said) == 1, said
    assert said[0].startswith("kraken: ")
    return said[0]


@contextmanager
def taken_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", free_ports(1))) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_in_use(tmp_path: Path, kind: str) -> None:
    with taken_port() as listen:
        said = refusal(kind, a_config(tmp_path, kind, http={"listen": listen}))

    assert said == f"kraken: http.listen {listen}: the port is in use by another process"


@pytest.mark.parametrize("kind", WITH_PEERS)
def test_a_peer_port_in_use(tmp_path: Path, kind: str) -> None:
    with taken_port() as listen:
        said = refusal(kind, a_config(tmp_path, kind, peer={"listen": listen}))

    assert "peer.listen" in said
    assert listen in said


@pytest.mark.parametrize("kind", WITH_DATA)
def test_a_data_directory_that_is_a_file(tmp_path: Path, kind: str) -> None:
    (tmp_path / "data").write_text("")

    assert str(tmp_path / "data") in refusal(kind, a_config(tmp_path, kind))


@pytest.mark.parametrize("kind", WITH_DATA)
def test_a_data_directory_that_cannot_be_written(tmp_path: Path, kind: str) -> None:
    with small_disk(tmp_path / "disk", 1 << 20):
        output_of("mount", "-o", "remount,ro", tmp_path / "disk")
        said = refusal(kind, a_config(tmp_path, kind, data=str(tmp_path / "disk" / "data")))

    assert str(tmp_path / "disk" / "data") in said


def test_an_index_on_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1 << 16):
        (tmp_path / "disk" / "data").mkdir()
        with (tmp_path / "disk" / "filler").open("wb", buffering=0) as file:
            file.write(bytes(1 << 16))
        said = refusal("index", a_config(tmp_path, "index", data=str(tmp_path / "disk" / "data")))

    assert str(tmp_path / "disk" / "data") in said


@pytest.mark.parametrize("kind", WITH_PEERS)
def test_a_data_directory_that_another_process_uses(tmp_path: Path, kind: str) -> None:
    with running(kind, a_config(tmp_path, kind), tmp_path / "log"):
        said = refusal(kind, a_config(tmp_path, kind))

    assert said == f"kraken: data directory {tmp_path / 'data'} is in use by another process"


@pytest.mark.parametrize("kind", KINDS)
def test_others_that_do_not_answer_are_a_reason_and_no_failure(tmp_path: Path, kind: str) -> None:
    dead = [f"127.0.0.1:{free_ports(1)}"]
    cluster = {"trackers": dead, "indexes": dead, "probe_seconds": 0.2, "retry_seconds": 0.2}
    if kind != "origin":
        cluster["origins"] = dead
    config = a_config(tmp_path, kind, cluster=cluster)
    log = tmp_path / "log"
    with running(kind, config, log) as http:
        if kind in ("agent", "tracker", "proxy"):
            wait_until(lambda: "host_down" in log.read_text(), "the others count as down")
            with pytest.raises(urllib.error.HTTPError) as caught:
                fetched(http, "/readyz")
            answer = json.loads(caught.value.read())
            assert caught.value.code == 503
            assert answer["ready"] is False
            assert answer["reasons"]

    assert "Traceback" not in log.read_text()
    assert all(line.startswith("{") for line in log.read_text().splitlines())


@contextmanager
def running(kind: str, config: Path, log: Path) -> Iterator[Address]:
    """A component that has started; it stops at the end of the block, and well."""
    process = Process(kraken(kind, "--config", config), log)
    http = Address.parse(yaml.safe_load(config.read_text())["http"]["listen"])
    try:
        wait_until(lambda: process.exit_code is not None or is_alive(http), f"{kind} answers")
        assert process.exit_code is None, log.read_text()
        yield http
    finally:
        code = process.stop()
    assert code == 0


def is_alive(http: Address) -> bool:
    try:
        return bool(fetched(http, "/healthz"))
    except (OSError, urllib.error.URLError):
        return False


@pytest.mark.parametrize("kind", WITH_PEERS)
def test_more_connections_than_the_process_may_have_files(kind: str, tmp_path: Path) -> None:
    said = refusal(kind, a_config(tmp_path, kind, http={"listen": "127.0.0.1:0", "max_connections": 1_000_000}))

    assert "ulimit -Hn" in said
    assert "http.max_connections (1000000" in said
