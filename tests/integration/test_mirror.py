"""A cluster that mirrors Debian's docker-registry, as container runtimes pull from it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from tests.helpers.certificates import Authority
from tests.helpers.components import SmallCluster, http_session, running, small_cluster
from tests.helpers.docker_registry import PASSWORD, USER, DockerRegistry, docker_registry
from tests.helpers.other_host import other_host
from tests.helpers.pushing import push_image
from tests.helpers.registry import Image, an_image
from tests.helpers.tools import frozen

from kraken.core.digest import Digest
from kraken.core.pieces import MIB
from kraken.oci.mirroring import MirroringSettings
from kraken.upstream.settings import MirrorSettings, UpstreamSettings

NS = "registry.example:5000"
LAYER = bytes(range(256)) * (3 * MIB // 256)
IMAGE, MOVED = an_image(LAYER, b"a small layer"), an_image(LAYER, b"another")
MIRRORING = MirroringSettings(upstreams=(NS, "docker.io"), own_names=("kraken.example",))


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[DockerRegistry]:
    authority = Authority(tmp_path)
    with docker_registry(tmp_path, authority.issue("registry"), authority.certificate) as started:
        started.push("team/app", "latest", IMAGE)
        yield started


def mirror_of(upstream: DockerRegistry, data: Path, **settings: object) -> MirrorSettings:
    password_file = data / "password"
    password_file.write_text(PASSWORD)
    given = {"url": upstream.url, "username": USER, "password_file": password_file, "ca_file": upstream.authority}
    return MirrorSettings((UpstreamSettings(NS, **(given | settings)),))  # type: ignore[arg-type] # its own fields


@dataclass(frozen=True)
class Mirror:
    """A cluster, a client of its proxy, and clients of two agents."""

    cluster: SmallCluster
    proxy: aiohttp.ClientSession
    agents: tuple[aiohttp.ClientSession, ...]


@asynccontextmanager
async def mirror(
    upstream: DockerRegistry, data: Path, mirroring: MirroringSettings = MIRRORING, **settings: object
) -> AsyncIterator[Mirror]:
    async with small_cluster(data, mirror=mirror_of(upstream, data, **settings), mirroring=mirroring) as cluster:
        first, second = cluster.an_agent("one"), cluster.an_agent("two")
        async with (
            running(first, second),
            http_session(cluster.proxy.http) as proxy,
            http_session(first.http) as one,
            http_session(second.http) as two,
        ):
            yield Mirror(cluster, proxy, (one, two))


async def pulled(client: aiohttp.ClientSession, image: Image, tag: str = "latest", query: str = f"?ns={NS}") -> None:
    """Pull as containerd does: HEAD by tag, GET by digest, then the blobs all at once."""
    async with client.head(f"/v2/team/app/manifests/{tag}{query}") as answer:
        assert answer.status == 200
        assert answer.headers["Docker-Content-Digest"] == str(image.digest)
        if query:
            assert answer.headers["OCI-Namespace"] == NS
    async with client.get(f"/v2/team/app/manifests/{image.digest}{query}") as answer:
        assert (answer.status, await answer.read()) == (200, image.manifest)

    async def blob(data: bytes) -> None:
        async with client.get(f"/v2/team/app/blobs/{Digest.of(data)}{query}") as answer:
            assert (answer.status, await answer.read()) == (200, data)

    await asyncio.gather(*map(blob, image.blobs))


def reads(data: Path, of: str) -> int:
    """GETs of a path that the upstream has answered."""
    return len(re.findall(rf'"GET /v2/[^"]*{re.escape(of)}[^"]*" 200', (data / "registry.log").read_text()))


async def test_whoever_pulls_the_upstream_is_read_once(upstream: DockerRegistry, tmp_path: Path) -> None:
    async with mirror(upstream, tmp_path) as world:
        await asyncio.gather(*(pulled(client, IMAGE) for client in (*world.agents, world.proxy) * 3))

        for blob in IMAGE.blobs:
            assert reads(tmp_path, str(Digest.of(blob))) == 1
        assert reads(tmp_path, "/manifests/") == 1
        async with world.proxy.get("/v2/_catalog") as answer:
            assert (await answer.json())["repositories"] == ["registry.example_5000/team/app"]
        async with world.agents[0].get(f"/v2/team/app/tags/list?ns={NS}") as answer:
            assert (await answer.json())["tags"] == ["latest"]


async def test_an_upstream_on_another_host_is_asked_with_tls_and_a_password(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with other_host() as host:
        certificate = authority.issue("registry", f"IP:{host.address}")
        with docker_registry(tmp_path, certificate, authority.certificate, host) as upstream:
            upstream.push("team/app", "latest", IMAGE)
            async with mirror(upstream, tmp_path) as world:
                await asyncio.gather(*(pulled(client, IMAGE) for client in (*world.agents, world.proxy)))
                assert reads(tmp_path, str(Digest.of(LAYER))) == 1


async def test_a_tag_that_moved_is_seen_after_its_time(upstream: DockerRegistry, tmp_path: Path) -> None:
    for seconds, seen in ((3600.0, IMAGE), (0.0, MOVED)):
        data = tmp_path / str(seconds)
        data.mkdir()
        upstream.push("team/app", "latest", IMAGE)
        async with mirror(upstream, data, revalidate_seconds=seconds) as world:
            await pulled(world.agents[0], IMAGE)
            upstream.push("team/app", "latest", MOVED)

            await pulled(world.agents[1], seen)


async def test_what_was_pulled_is_served_while_the_upstream_is_silent(upstream: DockerRegistry, tmp_path: Path) -> None:
    async with mirror(upstream, tmp_path, revalidate_seconds=0.0, idle_seconds=0.5) as world:
        await pulled(world.proxy, IMAGE)
        assert upstream.process is not None
        with frozen(upstream.process.pid):
            for client in (*world.agents, world.proxy):
                await pulled(client, IMAGE)
            stale = sum(
                origin.metrics.value("kraken_upstream_stale_total", upstream=NS) for origin in world.cluster.origins
            )
            assert stale >= 1


async def test_where_stale_is_not_wanted_a_tag_is_503_while_the_upstream_is_silent(
    upstream: DockerRegistry, tmp_path: Path
) -> None:
    async with mirror(upstream, tmp_path, revalidate_seconds=0.0, idle_seconds=0.5, serve_stale=False) as world:
        await pulled(world.proxy, IMAGE)
        assert upstream.process is not None
        with frozen(upstream.process.pid):
            for client in (*world.agents, world.proxy):
                async with client.get(f"/v2/team/app/manifests/latest?ns={NS}") as answer:
                    assert answer.status == 503
                    assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"/v2/team/none/manifests/latest?ns={NS}", "MANIFEST_UNKNOWN"),
        (f"/v2/team/app/manifests/none?ns={NS}", "MANIFEST_UNKNOWN"),
        (f"/v2/team/app/blobs/{Digest.of(b'none')}?ns={NS}", "BLOB_UNKNOWN"),
        ("/v2/team/app/manifests/latest?ns=elsewhere.example", "NAME_UNKNOWN"),
        ("/v2/team/app/manifests/latest?ns=%00", "NAME_UNKNOWN"),
        ("/v2/team/app/manifests/latest?ns=docker.io", "MANIFEST_UNKNOWN"),  # the origins know no such upstream
        ("/v2/team/app/manifests/latest", "MANIFEST_UNKNOWN"),
    ],
)
async def test_what_cannot_be_had_is_404_at_once(
    upstream: DockerRegistry, tmp_path: Path, path: str, code: str
) -> None:
    async with mirror(upstream, tmp_path) as world:
        for client in (world.agents[0], world.proxy):
            async with client.get(path) as answer:
                assert (answer.status, (await answer.json())["errors"][0]["code"]) == (404, code)


async def test_a_mirrored_repository_is_pulled_by_its_whole_name_and_by_dockerd_without_any(
    upstream: DockerRegistry, tmp_path: Path
) -> None:
    mirroring = MirroringSettings(upstreams=(NS,), default=NS)
    async with mirror(upstream, tmp_path, mirroring) as world:
        await push_image(world.proxy, "team/own", IMAGE, "latest")
        for client in (*world.agents, world.proxy):
            await pulled(client, IMAGE, query="")
            async with client.get("/v2/registry.example_5000/team/app/manifests/latest") as answer:
                assert await answer.read() == IMAGE.manifest
            async with client.get("/v2/team/own/manifests/latest") as answer:
                assert answer.status == 200
        assert reads(tmp_path, "team/own") == 0


async def test_what_is_mirrored_cannot_be_changed_and_our_own_names_can(
    upstream: DockerRegistry, tmp_path: Path
) -> None:
    async with mirror(upstream, tmp_path) as world:
        await pulled(world.proxy, IMAGE)
        headers = {"Content-Type": IMAGE.media_type}
        for method, path in (
            ("PUT", f"/v2/team/app/manifests/latest?ns={NS}"),
            ("DELETE", f"/v2/team/app/manifests/latest?ns={NS}"),
            ("POST", "/v2/registry.example_5000/team/app/blobs/uploads/"),
        ):
            async with world.proxy.request(method, path, data=IMAGE.manifest, headers=headers) as answer:
                assert (answer.status, (await answer.json())["errors"][0]["code"]) == (403, "DENIED")

        await push_image(world.proxy, "team/own", IMAGE, "latest")
        for name in ("kraken.example", "unknown.example"):
            path = f"/v2/team/own/manifests/again?ns={name}"
            async with world.proxy.put(path, data=IMAGE.manifest, headers=headers) as answer:
                assert answer.status == 201
        async with world.agents[0].get("/v2/team/own/manifests/again?ns=kraken.example") as answer:
            assert answer.status == 200
