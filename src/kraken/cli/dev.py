"""`kraken dev`: a whole cluster on one machine, until a signal stops it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from kraken.cli.children import Child
from kraken.cli.cluster import (
    check_ports,
    components_of,
    load_settings,
    wait_until_ready,
    write_configs,
    write_endpoints,
)
from kraken.cli.kinds import Kind
from kraken.cli.layout import Counts, Plan, plan
from kraken.cli.overlay import overlays
from kraken.config.sources import ENVIRONMENT_PREFIX
from kraken.observability.logs import configure
from kraken.runtime.component import Component, serve


def run(
    counts: Counts,
    data: Path,
    base_port: int,
    *,
    processes: bool,
    overlay: Path | None,
    environ: Mapping[str, str],
) -> None:
    """Run a cluster until SIGTERM or SIGINT.

    Raises: BadConfig, before anything has started, when settings, directory or ports do not allow it.
    """
    data = data.absolute()
    cluster = plan(counts, base_port, data)
    wishes = overlays(overlay, environ)
    check_ports(cluster)
    files = write_configs(cluster, wishes, data)
    settings = load_settings(cluster, files)
    configure(settings[0].log)
    asyncio.run(_serve(cluster, files, settings, data, _without_ours(environ) if processes else None))


def announcement(cluster: Plan, endpoints: Path) -> str:
    """What to do with the cluster: its endpoints, and a line to copy for each client."""
    push = cluster.of(Kind.PROXY)[0].http
    pull = cluster.of(Kind.AGENT)[0].http if cluster.of(Kind.AGENT) else push
    rows = [
        f"  {member.name:<12} http://{member.http}" + (f"   peers at {member.peer}" if member.peer else "")
        for member in sorted(cluster.members, key=lambda member: member.http.port)
    ]
    pushed, pulled = f"{push}/demo/hello:1", f"{pull}/demo/hello:1"
    lines = [
        "The cluster is ready.",
        *rows,
        f"  (also in {endpoints})",
        "Push to the proxy, pull from any agent:",
        f"  docker      docker tag hello-world {pushed} && docker push {pushed} && docker pull {pulled}",
        f"  skopeo      skopeo copy --dest-tls-verify=false docker-daemon:hello-world:latest docker://{pushed}",
        f"  containerd  ctr images pull --plain-http {pulled}",
    ]
    return "\n".join(lines)


async def _serve(
    cluster: Plan, files: Mapping[str, Path], settings: Sequence[Any], data: Path, environ: dict[str, str] | None
) -> None:
    """Args: environ, for processes of their own; None runs all components in this one."""
    children = [] if environ is None else [Child(member, files[member.name], environ) for member in cluster.members]
    components: Sequence[Component] = children or components_of(cluster, settings)

    async def ready() -> None:
        await asyncio.gather(*(child.answer() for child in children))
        unready = await wait_until_ready(cluster.members)
        for name, reason in unready.items():
            typer.echo(f"{name} is not ready: {reason}", err=True)
        pids = {member.name: os.getpid() for member in cluster.members} | {child.name: child.pid for child in children}
        typer.echo(announcement(cluster, write_endpoints(cluster, pids, data)))

    await serve(components, ready)


def _without_ours(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for children; our variables are in their files already."""
    return {name: text for name, text in environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
