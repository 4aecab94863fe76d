"""Pulling through from Debian's docker-registry, over TLS and with a password, into the stores of an origin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.contracts.stores import disk_stores
from tests.helpers.certificates import Authority
from tests.helpers.docker_registry import PASSWORD, USER, DockerRegistry, docker_registry
from tests.helpers.registry import an_image
from tests.helpers.tools import frozen, thaw
from tests.unit.origin.mirror_world import MemoryNames

from kraken.core.digest import Digest
from kraken.core.errors import NotFound, Unavailable
from kraken.core.metainfo import Metainfo
from kraken.core.pieces import MIB
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.oci.manifests import OCI_MANIFEST, ManifestRecord, parse_manifest
from kraken.oci.references import RepositoryName, Tag
from kraken.origin.pull_through import PullThrough
from kraken.origin.pulled_blobs import PulledBlobs
from kraken.runtime.threads import FileThreads
from kraken.storage.io.catalog_store import CatalogBlobStore
from kraken.upstream.errors import LoginRefused
from kraken.upstream.io.registries import Upstreams
from kraken.upstream.settings import MirrorSettings, UpstreamSettings

LOCAL = RepositoryName("registry.example_5000/team/app")
LATEST = Tag("latest")
LAYER = bytes(range(256)) * (3 * MIB // 256)
IMAGE = an_image(LAYER, b"a small layer")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def registry(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    certificate = authority.issue("registry")
    with docker_registry(tmp_path_factory.mktemp("registry"), certificate, authority.certificate) as running:
        running.push("team/app", "latest", IMAGE)
        yield running


@pytest.fixture
def settings(registry: DockerRegistry, tmp_path: Path) -> UpstreamSettings:
    password_file = tmp_path / "password"
    password_file.write_text(PASSWORD + "\n")
    return UpstreamSettings(
        "registry.example:5000",
        url=registry.url,
        username=USER,
        password_file=password_file,
        ca_file=registry.authority,
        revalidate_seconds=60.0,
    )


class NoCopies:
    """Implements `Replicas` for an origin that is alone."""

    async def replicate(self, metainfo: Metainfo) -> int:
        return 1


@dataclass(frozen=True)
class OriginWorld:
    """Pull-through into the stores of an origin on disk. Its names are in memory, and its clock stands still."""

    service: PullThrough
    names: MemoryNames
    blobs: CatalogBlobStore
    metrics: Metrics

    async def read(self, digest: Digest) -> bytes:
        with await self.blobs.open(digest) as blob:
            for piece in blob.metainfo.pieces.indices():
                assert await blob.verify(piece)
            return await blob.read(0, blob.size)

    def requests(self, result: str) -> float:
        return self.metrics.value("kraken_upstream_requests_total", upstream="registry.example:5000", result=result)


@asynccontextmanager
async def origin_world(data: Path, settings: UpstreamSettings) -> AsyncIterator[OriginWorld]:
    threads = FileThreads()
    stores = disk_stores(data, threads)
    await stores.blobs.start()
    log, metrics = get_logger("test", "upstream"), Metrics("test", "upstream")
    upstreams = Upstreams((settings,), threads, stores.clock, log, metrics)
    names, blobs = MemoryNames(stores.clock), PulledBlobs(stores.blobs, stores.uploads, NoCopies())
    mirror = MirrorSettings(upstreams=(settings,))
    service = PullThrough(upstreams, names, blobs, mirror, stores.clock, log, metrics)
    try:
        yield OriginWorld(service, names, stores.blobs, metrics)
    finally:
        await service.close()
        await upstreams.close()
        await stores.blobs.close()
        threads.close()


async def test_an_image_comes_whole_however_many_ask(settings: UpstreamSettings, tmp_path: Path) -> None:
    async with origin_world(tmp_path / "data", settings) as world:
        records = await asyncio.gather(*(world.service.resolve(LOCAL, LATEST) for _ in range(50)))
        assert set(records) == {ManifestRecord(IMAGE.digest, OCI_MANIFEST, len(IMAGE.manifest))}
        assert await world.read(IMAGE.digest) == IMAGE.manifest

        for blob in IMAGE.blobs:
            fetches = (world.service.fetch_blob(LOCAL, Digest.of(blob)) for _ in range(50))
            assert {metainfo.size for metainfo in await asyncio.gather(*fetches)} == {len(blob)}
            assert await world.read(Digest.of(blob)) == blob

        bytes_read = world.metrics.value("kraken_upstream_bytes_total", upstream="registry.example:5000")
        assert bytes_read == sum(map(len, IMAGE.blobs))
        assert world.requests("ok") == 2 + len(IMAGE.blobs)


async def test_a_tag_that_moved_is_seen_when_it_is_asked_again(
    registry: DockerRegistry, settings: UpstreamSettings, tmp_path: Path
) -> None:
    first, second = an_image(b"1"), an_image(b"2")
    registry.push("team/app", "moving", first)
    async with origin_world(tmp_path / "data", replace(settings, revalidate_seconds=0.0)) as world:
        clock = world.names._clock
        assert (await world.service.resolve(LOCAL, Tag("moving"))).digest == first.digest

        clock.move(1.0)
        assert (await world.service.resolve(LOCAL, Tag("moving"))).digest == first.digest
        registry.push("team/app", "moving", second)
        clock.move(1.0)
        assert (await world.service.resolve(LOCAL, Tag("moving"))).digest == second.digest
        assert world.requests("ok") == 2 + 1 + 2


async def test_what_is_not_there_is_not_found(settings: UpstreamSettings, tmp_path: Path) -> None:
    async with origin_world(tmp_path / "data", settings) as world:
        with pytest.raises(NotFound, match="HTTP status 404"):
            await world.service.resolve(LOCAL, Tag("nothing"))
        with pytest.raises(NotFound):
            await world.service.fetch_blob(LOCAL, Digest.of(b"nothing"))


async def test_a_wrong_password_is_sent_once_until_it_is_replaced(settings: UpstreamSettings, tmp_path: Path) -> None:
    assert settings.password_file is not None
    settings.password_file.write_text("wrong")
    async with origin_world(tmp_path / "data", settings) as world:
        with capture_logs() as logs:
            for _ in range(3):
                with pytest.raises(LoginRefused, match="password"):
                    await world.service.resolve(LOCAL, LATEST)
        refusals = [line for line in logs if line["event"] == "upstream_login_refused"]
        assert [line["error"] for line in refusals] == [
            "registry.example:5000 does not take the password of reader: check username and password_file"
        ]

        settings.password_file.write_text(PASSWORD)
        assert (await world.service.resolve(LOCAL, LATEST)).digest == IMAGE.digest


async def test_without_a_password_a_private_registry_has_nothing(settings: UpstreamSettings, tmp_path: Path) -> None:
    async with origin_world(tmp_path / "data", replace(settings, username=None, password_file=None)) as world:
        with pytest.raises(NotFound, match="set username and password_file"):
            await world.service.resolve(LOCAL, LATEST)


async def test_an_unknown_authority_is_not_trusted(settings: UpstreamSettings, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other").certificate
    for ca_file in (None, other):
        async with origin_world(tmp_path / f"data-{ca_file is None}", replace(settings, ca_file=ca_file)) as world:
            with pytest.raises(Unavailable, match=r"is not trusted .* set ca_file"):
                await world.service.resolve(LOCAL, LATEST)


async def test_a_certificate_for_another_host_is_not_trusted(
    authority: Authority, settings: UpstreamSettings, tmp_path: Path
) -> None:
    certificate = authority.issue("elsewhere", "DNS:elsewhere.example")
    with docker_registry(tmp_path, certificate, authority.certificate) as elsewhere:
        async with origin_world(tmp_path / "data", replace(settings, url=elsewhere.url)) as world:
            with pytest.raises(Unavailable, match="is not trusted"):
                await world.service.resolve(LOCAL, LATEST)


async def test_an_unchecked_certificate_is_used_and_said_to_be(settings: UpstreamSettings, tmp_path: Path) -> None:
    unchecked = replace(settings, ca_file=None, insecure_skip_verify=True)
    with capture_logs() as logs:
        async with origin_world(tmp_path / "data", unchecked) as world:
            assert (await world.service.resolve(LOCAL, LATEST)).digest == IMAGE.digest

    assert [(line["log_level"], line["url"]) for line in logs if line["event"] == "upstream_unverified"] == [
        ("warning", settings.url)
    ]


async def test_a_registry_that_hangs_fails_few_pulls_and_then_none_waits(
    registry: DockerRegistry, settings: UpstreamSettings, tmp_path: Path
) -> None:
    hasty = replace(settings, idle_seconds=0.2, connect_seconds=0.2, failures_to_open=2, revalidate_seconds=0.0)
    assert registry.process is not None
    async with origin_world(tmp_path / "data", hasty) as world:
        clock = world.names._clock
        known = ManifestRecord(IMAGE.digest, OCI_MANIFEST, len(IMAGE.manifest))
        await world.names.put(LOCAL, known, [LATEST], parse_manifest(IMAGE.manifest, OCI_MANIFEST))
        clock.move(1.0)
        with frozen(registry.process.pid):
            for _ in range(2):
                assert await world.service.resolve(LOCAL, LATEST) == known
            assert world.requests("failed") == 2

            outcomes = await asyncio.gather(
                *(world.service.resolve(LOCAL, Tag(f"tag-{number}")) for number in range(200)), return_exceptions=True
            )
            assert {type(outcome).__name__ for outcome in outcomes} == {"LeftAlone"}
            assert world.requests("not_sent") == 200
            assert world.metrics.value("kraken_upstream_up", upstream="registry.example:5000") == 0.0
            thaw(registry.process.pid)

            while not world.requests("ok"):  # a loaded machine may need more than its 0.2 s for an answer
                clock.move(60.0)
                assert await world.service.resolve(LOCAL, LATEST) == known
            assert world.metrics.value("kraken_upstream_up", upstream="registry.example:5000") == 1.0
