"""`kraken gc`: garbage collection on demand, and what each node found."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import msgspec

from kraken.cli.kinds import Kind, settings_class
from kraken.cluster.garbage_report import Finding, GarbageReport
from kraken.cluster.settings import ClusterSettings
from kraken.config.loader import component_of, load
from kraken.core.errors import BadConfig, Invalid, KrakenError
from kraken.core.peers import Address
from kraken.runtime.web_client import ClientSettings, HttpClient, NoAnswer

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")

Answer = GarbageReport | KrakenError


def cluster_of(config: Path | None, endpoints: Path | None, environ: Mapping[str, str]) -> ClusterSettings:
    """Where the index nodes and origins are.

    Raises: BadConfig, when not exactly one of the two files is given, or it cannot be read.
    """
    if (config is None) == (endpoints is None):
        raise BadConfig("give either --config or --endpoints, to say where the cluster is")
    if endpoints is not None:
        return _from_endpoints(endpoints)
    assert config is not None
    kind = Kind(component_of(config, list(Kind)))
    cluster: ClusterSettings = load(kind, settings_class(kind), config, environ).cluster
    if not cluster.indexes:
        raise BadConfig(f"{config}: cluster.indexes names no index node")
    return cluster


def run(cluster: ClusterSettings, *, dry_run: bool, as_json: bool) -> int:
    """Ask every index node, and then every origin: what the index lets go of, origins need not keep.

    Returns: the exit code, 1 when a node did not answer, or could not ask a majority of the index nodes.
    """
    answers = asyncio.run(_ask_all(cluster, "GET" if dry_run else "POST"))
    if as_json:
        told = {node: str(it) if isinstance(it, KrakenError) else it for node, it in answers.items()}
        print(msgspec.json.format(msgspec.json.encode(told)).decode())  # noqa: T201 - its purpose
    else:
        print("\n".join(_lines(answers, dry_run=dry_run)))  # noqa: T201 - its purpose
    return int(any(isinstance(it, KrakenError) for it in answers.values()))


async def _ask_all(cluster: ClusterSettings, method: str) -> dict[str, Answer]:
    http = HttpClient(ClientSettings())
    try:
        answers: dict[str, Answer] = {}
        for host in cluster.indexes:  # one after the other: what one removes everywhere, the next need not vote about
            answers[f"index {host}"] = await _ask(http, method, host)
        told = await asyncio.gather(*(_ask(http, method, host) for host in cluster.origins))
        return answers | {f"origin {host}": answer for host, answer in zip(cluster.origins, told, strict=True)}
    finally:
        await http.close()


async def _ask(http: HttpClient, method: str, host: Address) -> Answer:
    try:
        return await http.json(method, host, "/garbage", into=GarbageReport)
    except KrakenError as error:
        return error


def _lines(answers: Mapping[str, Answer], *, dry_run: bool) -> list[str]:
    """What was found, each thing once although several nodes found it; then the sums of each node."""
    reports = {node: it for node, it in answers.items() if isinstance(it, GarbageReport)}
    found = {(it.kind, it.repository, it.name): it for report in reports.values() for it in report.listed}
    lines = [_finding(it) for _key, it in sorted(found.items())]
    for node, answer in answers.items():
        if isinstance(answer, KrakenError):
            what = "did not answer" if isinstance(answer, NoAnswer) else "could not collect"
            lines.append(f"{node}: {what}: {answer}")
            continue
        sums = [f"{count} of kind {kind} ({_size(answer.sizes[kind])})" for kind, count in answer.counts.items()]
        lines.append(f"{node}: {'would remove' if dry_run else 'removed'} {', '.join(sums) or 'nothing'}")
    return lines


def _finding(it: Finding) -> str:
    where = f"{it.repository} " if it.repository else ""
    size = f" {_size(it.size)}" if it.size else ""
    return f"{it.kind:<9}{where}{it.name}{size}, {it.age_seconds:.0f} s old: {it.reason}"


def _size(size: float) -> str:
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.0f} {_UNITS[unit]}" if unit == 0 else f"{size:.1f} {_UNITS[unit]}"


class _Endpoint(msgspec.Struct):
    component: str
    http: str


def _from_endpoints(path: Path) -> ClusterSettings:
    try:
        listed = msgspec.json.decode(path.read_bytes(), type=list[_Endpoint])
        hosts = {kind: tuple(Address.parse(it.http) for it in listed if it.component == kind) for kind in Kind}
    except OSError as error:
        raise BadConfig(f"{path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, Invalid) as error:
        raise BadConfig(f"{path} is not what `kraken dev` writes: {error}") from error
    return ClusterSettings(origins=hosts[Kind.ORIGIN], indexes=hosts[Kind.INDEX])
