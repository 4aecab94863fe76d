"""`kraken dev` as an operator uses it: started, used, killed, started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kraken.cli.cluster import free_base_port
from kraken.cli.demo.image import Image, build_image
from kraken.cli.demo.registry import Repository, client_session, pull, push
from kraken.core.peers import Address
from kraken.core.pieces import MIB

SIZES = ("--origins", "2", "--trackers", "1", "--indexes", "1", "--proxies", "1", "--agents", "2")
MEMBERS = 7
PORTS = MEMBERS + 4
START_SECONDS = 60


class Dev:
    """A running `kraken dev`, and what it printed until it was ready."""

    def __init__(self, process: asyncio.subprocess.Process, data: Path, printed: str) -> None:
        self.process = process
        self.printed = printed
        self.endpoints: list[dict[str, Any]] = json.loads((data / "endpoints.json").read_text())

    def http(self, name: str) -> Address:
        return Address.parse(next(entry["http"] for entry in self.endpoints if entry["name"] == name))

    def pid(self, name: str) -> int:
        pid = next(entry["pid"] for entry in self.endpoints if entry["name"] == name)
        assert isinstance(pid, int)
        return pid


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "kraken", *arguments]


def environment() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if not name.startswith("KRAKEN_")}


@asynccontextmanager
async def a_cluster(data: Path, base_port: int, *flags: str) -> AsyncIterator[Dev]:
    process = await asyncio.create_subprocess_exec(
        *command("dev", *SIZES, "--data", str(data), "--base-port", str(base_port), *flags),
        stdout=asyncio.subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    try:
        printed = ""
        async with asyncio.timeout(START_SECONDS):
            while "containerd" not in printed:
                line = await process.stdout.readline()
                assert line, f"kraken dev ended before it was ready: {printed}"
                printed += line.decode()
        yield Dev(process, data, printed)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def run(*arguments: str, environ: dict[str, str] | None = None) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment() | (environ or {}),
    )
    out, error = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), error.decode()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build_image(tmp_path_factory.mktemp("image"), 4 * MIB, roots=[])


async def pushed(address: Address, image: Image) -> None:
    async with client_session() as session:
        await push(Repository(session, address, "dev/app"), image, "1")


async def pulled(address: Address) -> str:
    async with client_session() as session:
        return str(await pull(Repository(session, address, "dev/app"), "1", lambda _: None))


@pytest.mark.parametrize("flags", [(), ("--processes",)], ids=["one-process", "processes"])
async def test_a_cluster_killed_and_started_again_has_everything_at_the_same_ports(
    tmp_path: Path, image: Image, flags: Sequence[str]
) -> None:
    base_port = free_base_port(PORTS)

    async with a_cluster(tmp_path, base_port, *flags) as dev:
        first = {entry["name"]: entry["http"] for entry in dev.endpoints}
        await pushed(dev.http("proxy-1"), image)
        digests = [await pulled(dev.http("agent-1"))]
        for pid in {entry["pid"] for entry in dev.endpoints} | {dev.process.pid}:
            os.kill(pid, signal.SIGKILL)
    async with a_cluster(tmp_path, base_port, *flags) as dev:
        second = {entry["name"]: entry["http"] for entry in dev.endpoints}
        digests += [await pulled(dev.http("agent-1")), await pulled(dev.http("agent-2"))]

    assert first == second
    assert digests == [str(image.digest)] * 3


async def test_it_prints_endpoints_and_a_line_for_each_client(tmp_path: Path) -> None:
    base_port = free_base_port(PORTS)

    async with a_cluster(tmp_path, base_port) as dev:
        proxy, agent = f"127.0.0.1:{base_port}", f"127.0.0.1:{base_port + 1}"
        assert (str(dev.http("proxy-1")), str(dev.http("agent-1"))) == (proxy, agent)
        assert f"docker push {proxy}/demo/hello:1" in dev.printed
        assert f"skopeo copy --dest-tls-verify=false docker-daemon:hello-world:latest docker://{proxy}" in dev.printed
        assert f"ctr images pull --plain-http {agent}/demo/hello:1" in dev.printed
        assert {tuple(entry) for entry in dev.endpoints} == {("component", "name", "http", "peer", "pid", "data")}
        assert len(dev.endpoints) == MEMBERS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("flags", [(), ("--processes",)], ids=["one-process", "processes"])
async def test_a_signal_stops_everything_and_the_exit_code_is_0(
    tmp_path: Path, number: signal.Signals, flags: Sequence[str]
) -> None:
    async with a_cluster(tmp_path, free_base_port(PORTS), *flags) as dev:
        dev.process.send_signal(number)
        assert await dev.process.wait() == 0

    assert [entry["name"] for entry in dev.endpoints if is_open(entry["http"])] == []


async def test_the_children_die_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    async with a_cluster(tmp_path, free_base_port(PORTS), "--processes") as dev:
        dev.process.kill()
        await dev.process.wait()
        async with asyncio.timeout(30):
            for entry in dev.endpoints:
                while is_open(entry["http"]):
                    await asyncio.sleep(0.05)


async def test_settings_for_a_kind_reach_its_components(tmp_path: Path) -> None:
    overlay = tmp_path / "dev.yaml"
    overlay.write_text("origin:\n  upload_expiry_seconds: 2h\n")

    async with a_cluster(tmp_path / "data", free_base_port(PORTS), "--config", str(overlay)):
        written = (tmp_path / "data" / "config" / "origin-1.yaml").read_text()

    assert "upload_expiry_seconds: 2h" in written


async def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    base_port = free_base_port(PORTS)
    with socket.create_server(("127.0.0.1", base_port + 1)):
        code, out, error = await run("dev", *SIZES, "--data", str(tmp_path), "--base-port", str(base_port))

    assert (code, out) == (2, "")
    assert error == (
        f"kraken: {base_port + 1} of the ports {base_port} to {base_port + PORTS - 1} is in use; "
        "choose another --base-port\n"
    )


async def test_a_directory_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    code, _, error = await run(
        "dev", *SIZES, "--data", str(tmp_path / "file"), "--base-port", str(free_base_port(PORTS))
    )

    assert code == 2
    assert error.startswith("kraken: cannot write")
    assert error.count("\n") == 1


async def test_a_wrong_file_or_variable_is_told_with_the_nearest_key(tmp_path: Path) -> None:
    path = tmp_path / "tracker.yaml"
    path.write_text("component: tracker\nhttp:\n  lisen: 127.0.0.1:0\n")

    code, out, error = await run("tracker", "--config", str(path), environ={"KRAKEN_HTTP__LISTENN": "x"})

    assert (code, out) == (2, "")
    assert error.splitlines() == [
        f"kraken: {path}:3: unknown key http.lisen; did you mean http.listen?",
        "kraken: unknown environment variable KRAKEN_HTTP__LISTENN; did you mean KRAKEN_HTTP__LISTEN?",
    ]


async def test_a_component_whose_port_is_in_use_says_so_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        path = tmp_path / "tracker.yaml"
        path.write_text(f"component: tracker\nhttp: {{listen: '{listen}'}}\n")
        code, _, error = await run("tracker", "--config", str(path))

    assert code == 2
    assert [line for line in error.splitlines() if not line.startswith("{")] == [
        f"kraken: http.listen {listen}: the port is in use by another process"
    ]


def is_open(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0
