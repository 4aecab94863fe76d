"""A planned cluster made real: its configuration files, its components, its endpoints.

Every component gets a file that `kraken <kind> --config FILE` takes as well, whether it runs here or in a
process of its own: there is one way to configure a component.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from kraken.cli.kinds import Kind, component, settings_class
from kraken.cli.layout import LOOPBACK, Member, Plan, nested
from kraken.config.loader import load
from kraken.config.schema import Key
from kraken.config.values import Text
from kraken.core.errors import BadConfig
from kraken.core.peers import Address
from kraken.runtime.component import Component

READY_SECONDS = 60.0
_FIRST_PORT = 10_000
_POLL_SECONDS = 0.05


def write_configs(plan: Plan, overlays: Mapping[Kind, Mapping[Key, Text]], directory: Path) -> dict[str, Path]:
    """Write `directory/config/<name>.yaml` for every member.

    Returns: the files by the members' names.
    Raises: BadConfig, when the directory cannot be written.
    """
    files: dict[str, Path] = {}
    try:
        (directory / "config").mkdir(parents=True, exist_ok=True)
        for member in plan.members:
            member.data.mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(
                nested({**overlays.get(member.kind, {}), **plan.settings_of(member)}), sort_keys=False
            )
            files[member.name] = directory / "config" / f"{member.name}.yaml"
            files[member.name].write_text(text)
    except OSError as error:
        raise BadConfig(f"cannot write {error.filename or directory}: {error.strerror}") from error
    return files


def load_settings(plan: Plan, files: Mapping[str, Path]) -> list[Any]:
    """The settings of all members, in their order. The environment has been read before: it is in the files."""
    return [load(member.kind, settings_class(member.kind), files[member.name], {}) for member in plan.members]


def components_of(plan: Plan, settings: Sequence[Any]) -> list[Component]:
    """All members as components of this process."""
    return [component(member.kind, values) for member, values in zip(plan.members, settings, strict=True)]


def check_ports(plan: Plan) -> None:
    """Raises: BadConfig, one line, when any port of the plan is taken."""
    taken = [address.port for address in plan.addresses if not _is_free(address)]
    if taken:
        ports = ", ".join(map(str, taken))
        verb = "are" if len(taken) > 1 else "is"
        raise BadConfig(f"{ports} of the ports {_span(plan)} {verb} in use; choose another --base-port")


def free_base_port(count: int) -> int:
    """The first of `count` consecutive ports that are free now, below the ephemeral ones.

    Where the search begins is left to chance, so that those who search at the same time do not find the same.
    """
    bases = range(_FIRST_PORT, 32768 - count, count)
    begin = random.randrange(len(bases))
    for step in range(len(bases)):
        base = bases[(begin + step) % len(bases)]
        if all(_is_free(Address(LOOPBACK, port)) for port in range(base, base + count)):
            return base
    raise BadConfig(f"no {count} consecutive free ports between {_FIRST_PORT} and 32768")


def write_endpoints(plan: Plan, pids: Mapping[str, int], directory: Path) -> Path:
    """Write `directory/endpoints.json`: who is where, for scripts. It is replaced as a whole, never half-written."""
    entries = [
        {
            "component": member.kind.value,
            "name": member.name,
            "http": str(member.http),
            "peer": None if member.peer is None else str(member.peer),
            "pid": pids[member.name],
            "data": str(member.data),
        }
        for member in plan.members
    ]
    path = directory / "endpoints.json"
    draft = path.with_suffix(".json.new")
    draft.write_text(json.dumps(entries, indent=2) + "\n")
    os.replace(draft, path)
    return path


async def wait_until_ready(members: Sequence[Member], seconds: float = READY_SECONDS) -> dict[str, str]:
    """Ask every member's /readyz until it is ready, or the time is over.

    Returns: for each member that is still not ready, why.
    """
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        reasons = await asyncio.gather(*(_wait_for(session, member, seconds) for member in members))
    return {member.name: reason for member, reason in zip(members, reasons, strict=True) if reason}


async def wait_until_answering(address: Address, seconds: float) -> bool:
    """Whether something answers /healthz there before the time is over."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        try:
            async with asyncio.timeout(seconds):
                while not await _answers(session, address):  # noqa: ASYNC110 - another process sets no event here
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            return False
    return True


async def _answers(session: aiohttp.ClientSession, address: Address) -> bool:
    try:
        async with session.get(f"http://{address}/healthz") as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _wait_for(session: aiohttp.ClientSession, member: Member, seconds: float) -> str:
    reason = "it was never asked"
    try:
        async with asyncio.timeout(seconds):
            while reason := await _why_not_ready(session, member.http):  # noqa: ASYNC110 - as above
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        return reason
    return ""


async def _why_not_ready(session: aiohttp.ClientSession, address: Address) -> str:
    try:
        async with session.get(f"http://{address}/readyz") as response:
            if response.status == 200:
                return ""
            answer = await response.json()
            return "; ".join(answer["reasons"])
    except (aiohttp.ClientError, TimeoutError) as error:
        return str(error) or type(error).__name__


def _is_free(address: Address) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.bare_host, address.port))
        except OSError:
            return False
    return True


def _span(plan: Plan) -> str:
    ports = [address.port for address in plan.addresses]
    return f"{min(ports)} to {max(ports)}"
