"""Another host on this machine: a network namespace, and a link to it that nobody else has."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from tests.helpers.tools import output_of, require


@dataclass(frozen=True, slots=True)
class OtherHost:
    """A namespace, and the address at which this one reaches it."""

    namespace: str
    address: str

    def command(self, *command: str) -> list[str]:
        """What runs `command` over there, as one process."""
        return ["ip", "netns", "exec", self.namespace, *command]


@contextmanager
def other_host() -> Iterator[OtherHost]:
    """A host for as long as the block lasts. The test is skipped where namespaces cannot be made."""
    require("ip")
    name = f"kt{secrets.token_hex(4)}"  # a device's name has at most 15 characters
    third, fourth = secrets.randbelow(256), 4 * secrets.randbelow(64)
    here, there = (f"10.199.{third}.{fourth + end}" for end in (1, 2))
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False, timeout=20)
    if made.returncode:
        pytest.skip(f"network namespaces cannot be made: {made.stderr.strip()}")
    try:
        output_of("ip", "link", "add", f"{name}-h", "type", "veth", "peer", "name", "eth0", "netns", name)
        output_of("ip", "addr", "add", f"{here}/30", "dev", f"{name}-h")
        output_of("ip", "link", "set", f"{name}-h", "up")
        output_of("ip", "-n", name, "addr", "add", f"{there}/30", "dev", "eth0")
        output_of("ip", "-n", name, "link", "set", "eth0", "up")
        output_of("ip", "-n", name, "link", "set", "lo", "up")
        yield OtherHost(name, there)
    finally:
        output_of("ip", "netns", "del", name)  # and the link with it
