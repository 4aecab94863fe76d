"""Real container runtimes on directories of their own, so that nothing of the machine is touched."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.tools import Process, environment, output_of, require, require_root, wait_until

from kraken.core.peers import Address


@contextmanager
def short_directory() -> Iterator[Path]:
    """A directory with a path short enough for sockets in it; what is mounted below is gone at the end."""
    directory = Path(tempfile.mkdtemp(prefix="kt-"))
    try:
        yield directory
    finally:
        for mounted in reversed(_mounts_below(directory)):
            output_of("umount", "--lazy", mounted)
        shutil.rmtree(directory, ignore_errors=True)


class Skopeo:
    """skopeo, over plain HTTP."""

    def __init__(self) -> None:
        require("skopeo")

    def copy(self, *arguments: str | Path) -> str:
        return output_of(
            "skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", *arguments
        )

    def tags(self, registry: Address, name: str) -> str:
        return output_of("skopeo", "list-tags", "--tls-verify=false", f"docker://{registry}/{name}")


class Docker:
    """A dockerd without network and without the machine's firewall."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._env = environment(
            DOCKER_HOST=f"unix://{directory}/d.sock", DOCKER_CONFIG=str(directory / "config"), DOCKER_BUILDKIT="0"
        )
        self._daemon = Process(
            [
                "dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false",
                "--ip-masq=false", "--data-root", f"{directory}/data", "--exec-root", f"{directory}/exec",
                "-H", f"unix://{directory}/d.sock", "-p", f"{directory}/d.pid",
            ],
            directory / "dockerd.log",
            env=environment(),
        )  # fmt: skip

    def wait_until_up(self) -> None:
        def up() -> bool:
            assert self._daemon.exit_code is None, (self._directory / "dockerd.log").read_text()[-4000:]
            return (self._directory / "d.sock").exists() and bool(self("version"))

        wait_until(up, "dockerd is up", 60.0)

    def __call__(self, *arguments: str | Path) -> str:
        """Run the docker command."""
        return output_of("docker", *arguments, env=self._env)

    def stop(self) -> None:
        self._daemon.stop()


@contextmanager
def docker() -> Iterator[Docker]:
    """A running dockerd."""
    require("dockerd", "docker", "containerd", "runc")
    require_root("start dockerd")
    with short_directory() as directory:
        running = Docker(directory)
        try:
            running.wait_until_up()
            yield running
        finally:
            running.stop()


class Containerd:
    """A containerd, and its `ctr`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        config = directory / "c.toml"
        config.write_text(
            f'version = 2\nroot = "{directory}/root"\nstate = "{directory}/state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "{directory}/c.sock"\n'
        )
        self._daemon = Process(["containerd", "-c", str(config)], directory / "containerd.log", env=environment())

    def wait_until_up(self) -> None:
        def up() -> bool:
            assert self._daemon.exit_code is None, (self.directory / "containerd.log").read_text()[-4000:]
            return (self.directory / "c.sock").exists() and bool(self("version"))

        wait_until(up, "containerd is up", 60.0)

    def __call__(self, *arguments: str | Path) -> str:
        """Run the ctr command."""
        return output_of("ctr", "-a", self.directory / "c.sock", *arguments, env=environment())

    def mirrored_by(self, registry: Address, host: str = "_default") -> Path:
        """A hosts directory that sends what is pulled from `host` to a registry."""
        hosts = self.directory / f"hosts-{registry.port}"
        (hosts / host).mkdir(parents=True)
        (hosts / host / "hosts.toml").write_text(f'[host."http://{registry}"]\n  capabilities = ["pull", "resolve"]\n')
        return hosts

    def stop(self) -> None:
        self._daemon.stop()


@contextmanager
def containerd() -> Iterator[Containerd]:
    """A running containerd."""
    require("containerd", "ctr", "runc")
    require_root("start containerd")
    with short_directory() as directory:
        running = Containerd(directory)
        try:
            running.wait_until_up()
            yield running
        finally:
            running.stop()


class Podman:
    """podman with a store of its own. It needs no daemon."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        policy = directory / "policy.json"
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self._policy = policy

    def __call__(self, *arguments: str | Path) -> str:
        command = ("podman", "--cgroup-manager=cgroupfs", "--events-backend=file", "--storage-driver=vfs")
        store = ("--root", self._directory / "root", "--runroot", self._directory / "run")
        return output_of(*command, *store, *arguments, env=environment(HOME=str(self._directory)))

    def pull(self, name: str) -> None:
        self("pull", "--tls-verify=false", "--signature-policy", self._policy, name)

    def push(self, name: str) -> None:
        self("push", "--tls-verify=false", "--signature-policy", self._policy, name)


@contextmanager
def podman() -> Iterator[Podman]:
    """podman, with an empty store."""
    require("podman")
    require_root("use podman with its own store")
    with short_directory() as directory:
        yield Podman(directory)


def _mounts_below(directory: Path) -> list[str]:
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        points = [line.split()[1] for line in mounts]
    return [point for point in points if point.startswith(f"{os.fspath(directory)}/")]
