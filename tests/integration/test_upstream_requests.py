"""Manifests and blobs, and what becomes of answers: against a registry that does what the test tells it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiohttp import web
from structlog.testing import capture_logs
from tests.helpers.blobs import a_blob
from tests.helpers.registry import Image
from tests.helpers.scripted_site import (
    Registry,
    Site,
    Store,
    body,
    cut_after,
    redirect,
    running_sites,
    status,
)
from tests.helpers.upstream_client import APP, BLOB, IMAGE, LATEST, NAME, client_of

from kraken.core.digest import Algorithm, Digest
from kraken.core.errors import KrakenError, NotFound, Rejected, Unavailable
from kraken.core.pieces import MIB
from kraken.oci.manifests import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from kraken.oci.references import Tag
from kraken.upstream.errors import Denied, LeftAlone, Throttled, Unreachable
from kraken.upstream.resuming import Progress


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    site = Registry()
    site.add_image(IMAGE, "latest")
    site.add(BLOB.data)
    async with running_sites(site):
        yield site


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """Where the registry redirects to; like S3, it refuses what has two ways to prove who asks."""
    site = Store()
    site.add(BLOB.data)
    async with running_sites(site):
        yield site


async def test_all_known_types_are_asked_for(registry: Registry) -> None:
    async with client_of(registry) as client:
        fetched = await client.registry.get_manifest(APP, LATEST)

    assert (fetched.data, fetched.content_type, fetched.digest) == (IMAGE.manifest, OCI_MANIFEST, IMAGE.digest)
    accepted = registry.seen[0].headers["accept"].split(", ")
    assert sorted(accepted) == sorted([OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST])
    assert registry.seen[0].headers["accept-encoding"] == "identity"


async def test_a_head_tells_the_digest(registry: Registry) -> None:
    async with client_of(registry) as client:
        assert await client.registry.head_manifest(APP, LATEST) == IMAGE.digest
        assert await client.registry.head_manifest(APP, LATEST, known=Digest.of(b"older")) == IMAGE.digest
    assert registry.lines == ["HEAD /v2/team/app/manifests/latest"] * 2


async def test_what_is_still_the_same_is_not_said_again(registry: Registry) -> None:
    async with client_of(registry) as client:
        assert await client.registry.head_manifest(APP, LATEST, known=IMAGE.digest) == IMAGE.digest
    assert registry.seen[0].headers["if-none-match"] == f'"{IMAGE.digest}"'


async def test_a_registry_with_entity_tags_of_its_own_tells_by_them(registry: Registry) -> None:
    registry.tells_digests, registry.etag = False, 'W/"v1"'
    async with client_of(registry) as client:
        assert await client.registry.head_manifest(APP, LATEST) is None
        fetched = await client.registry.get_manifest(APP, LATEST)
        assert fetched.digest == IMAGE.digest

        assert await client.registry.head_manifest(APP, LATEST, known=IMAGE.digest) == IMAGE.digest
        assert registry.seen[-1].headers["if-none-match"] == f'"{IMAGE.digest}", W/"v1"'
        registry.etag = 'W/"v2"'
        assert await client.registry.head_manifest(APP, LATEST, known=IMAGE.digest) is None


@pytest.mark.parametrize("number", [405, 501])
async def test_a_registry_without_head_is_no_failure(registry: Registry, number: int) -> None:
    registry.script.append(status(number))
    async with client_of(registry) as client:
        assert await client.registry.head_manifest(APP, LATEST) is None


async def test_a_manifest_under_a_wrong_digest_is_refused(registry: Registry) -> None:
    wrong = Digest.of(b"something else")
    registry.manifests[str(wrong)] = IMAGE
    registry.script.append(status(200))  # an empty body, for another
    async with client_of(registry) as client:
        for _ in range(2):
            with pytest.raises(Unavailable, match=f"whose digest is .*, not {wrong}"):
                await client.registry.get_manifest(APP, wrong)


async def test_a_manifest_that_is_not_what_its_header_says_is_refused(registry: Registry) -> None:
    told = Digest.of(b"something else")
    registry.script.append(body(IMAGE.manifest, Docker_Content_Digest=str(told)))
    async with client_of(registry) as client:
        with pytest.raises(Unavailable, match=f"not {told}"):
            await client.registry.get_manifest(APP, LATEST)


async def test_sha512_is_checked_as_sha512(registry: Registry) -> None:
    digest = Digest.of(IMAGE.manifest, Algorithm.SHA512)
    registry.script.append(body(IMAGE.manifest))
    async with client_of(registry) as client:
        assert (await client.registry.get_manifest(APP, digest)).digest == digest


async def test_manifests_beyond_what_most_clients_read_are_read(registry: Registry) -> None:
    large = Image(IMAGE.manifest + b" " * 5 * MIB, OCI_MANIFEST, ())
    registry.add_image(large, "large")
    async with client_of(registry) as client:
        assert (await client.registry.get_manifest(APP, Tag("large"))).digest == large.digest


async def test_a_manifest_without_end_is_refused(registry: Registry) -> None:
    registry.script.append(body(b" " * (5 * MIB + 1)))
    async with client_of(registry, max_manifest_bytes=5 * MIB) as client:
        with pytest.raises(Unavailable, match="more than 5242880 bytes"):
            await client.registry.get_manifest(APP, LATEST)


async def test_a_blob_comes_as_it_is_and_is_counted(registry: Registry) -> None:
    progress = Progress()
    async with client_of(registry) as client:
        assert await client.blob(BLOB.digest, progress) == BLOB.data
        assert client.metrics.value("kraken_upstream_bytes_total", upstream=NAME) == len(BLOB.data)
    assert progress == Progress(len(BLOB.data), len(BLOB.data))


async def test_a_blob_without_a_length_comes_whole(registry: Registry) -> None:
    registry.script.append(body(BLOB.data))
    async with client_of(registry) as client:
        assert await client.blob(BLOB.digest) == BLOB.data


async def test_an_empty_blob_comes(registry: Registry) -> None:
    digest = registry.add(b"")
    async with client_of(registry) as client:
        assert await client.blob(digest) == b""


async def test_a_blob_goes_on_where_its_connection_broke(registry: Registry, store: Store) -> None:
    here = f"{store.url}/{BLOB.digest}"
    registry.script.extend([redirect(here), redirect(here), redirect(here)])
    store.script.extend([cut_after(BLOB.data, 1_000_000), cut_after(BLOB.data, 5, start=1_000_000)])
    async with client_of(registry) as client:
        with capture_logs() as logs:
            assert await client.blob(BLOB.digest) == BLOB.data
        assert client.metrics.value("kraken_upstream_bytes_total", upstream=NAME) == len(BLOB.data)
        assert client.slept == [0.1, 0.4]

    assert [seen.headers.get("range") for seen in store.seen] == [None, "bytes=1000000-", "bytes=1000005-"]
    assert [line["event"] for line in logs] == ["upstream_blob_broken"] * 2


async def test_who_does_not_know_ranges_sends_all_again_and_no_byte_counts_twice(registry: Registry) -> None:
    registry.script.extend([cut_after(BLOB.data, 300_000), body(BLOB.data)])
    async with client_of(registry) as client:
        assert await client.blob(BLOB.digest) == BLOB.data
        assert client.metrics.value("kraken_upstream_bytes_total", upstream=NAME) == len(BLOB.data)


async def test_a_blob_that_breaks_off_again_and_again_fails(registry: Registry) -> None:
    registry.script.extend(cut_after(BLOB.data, 10, start) for start in range(0, 1000, 10))
    progress = Progress()
    async with client_of(registry) as client:
        with pytest.raises(Unreachable):
            await client.blob(BLOB.digest, progress)
        assert client.slept == [0.1, 0.4, 1.6, 6.4, 25.6]
    assert progress == Progress(60, len(BLOB.data))


async def test_a_blob_that_gets_on_may_break_off_more_often(registry: Registry) -> None:
    large = a_blob(pieces=150)
    registry.add(large.data)
    registry.script.extend(cut_after(large.data, 4 * MIB, start) for start in range(0, 32 * MIB, 4 * MIB))
    async with client_of(registry) as client:
        assert await client.blob(large.digest) == large.data
        assert client.slept == [0.1] * 8


async def test_a_blob_that_has_not_begun_fails_at_once(registry: Registry) -> None:
    registry.script.append(status(500))
    async with client_of(registry) as client:
        with pytest.raises(Unavailable, match="HTTP status 500"):
            await client.blob(BLOB.digest)
        assert client.slept == []


async def test_other_bytes_than_those_asked_for_do_not_get_in(registry: Registry) -> None:
    registry.script.extend([cut_after(BLOB.data, 1000), *[cut_after(BLOB.data, 1000, start=7)] * 10])
    progress = Progress()
    async with client_of(registry) as client:
        with pytest.raises(Unavailable, match="Content-Range 'bytes 7-"):
            await client.blob(BLOB.digest, progress)
    assert progress.received == 1000


async def test_a_blob_may_come_in_parts(registry: Registry) -> None:
    part = {"Content_Range": f"bytes 1000-4999/{len(BLOB.data)}"}
    registry.script.extend([cut_after(BLOB.data, 1000), body(BLOB.data[1000:5000], 206, **part)])
    async with client_of(registry) as client:
        assert await client.blob(BLOB.digest) == BLOB.data

    assert [seen.headers.get("range") for seen in registry.seen] == [None, "bytes=1000-", "bytes=5000-"]


async def test_a_blob_that_grows_is_broken_off(registry: Registry) -> None:
    rest = {"Content_Range": f"bytes 1000-{len(BLOB.data) - 1}/{len(BLOB.data)}"}
    registry.script.extend([cut_after(BLOB.data, 1000), body(BLOB.data, 206, **rest)])
    async with client_of(registry) as client:
        with pytest.raises(Unavailable, match="sends more"):
            await client.blob(BLOB.digest)
        assert len(registry.seen) == 2


async def test_a_throttled_blob_goes_on_when_it_may(registry: Registry) -> None:
    registry.script.extend([cut_after(BLOB.data, 1000), status(429, Retry_After="7")])
    async with client_of(registry) as client:
        assert await client.blob(BLOB.digest) == BLOB.data
        assert client.slept == [0.1, 7.0]


async def test_a_reader_that_stops_ends_the_connection(registry: Registry) -> None:
    async with client_of(registry, max_connections=2) as client:
        for _ in range(3):
            stream = client.registry.stream_blob(APP, BLOB.digest)
            assert await anext(stream)
            await stream.aclose()


async def test_what_is_not_there_is_not_found(registry: Registry) -> None:
    async with client_of(registry) as client:
        with pytest.raises(NotFound, match="HTTP status 404"):
            await client.blob(Digest.of(b"-"))


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (400, Rejected),
        (403, Denied),
        (404, NotFound),
        (410, NotFound),
        (416, Rejected),
        (408, Unavailable),
        (500, Unavailable),
        (502, Unreachable),
        (503, Unreachable),
        (504, Unreachable),
        (300, Unreachable),
    ],
)
async def test_a_status_is_an_error_of_ours(registry: Registry, number: int, error: type[KrakenError]) -> None:
    registry.script.append(status(number))
    async with client_of(registry) as client:
        with pytest.raises(error, match=f"registry.example, /v2/team/app/.*{number}") as caught:
            await client.registry.get_manifest(APP, LATEST)
    assert type(caught.value) is error


async def test_what_the_upstream_says_is_passed_on(registry: Registry) -> None:
    said = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your \\u001b[31mpull rate limit"}]}'
    registry.script.append(body(said, 429, Retry_After="30"))
    async with client_of(registry) as client:
        with pytest.raises(Throttled, match=r"429, TOOMANYREQUESTS You have reached your \[31mpull rate limit$"):
            await client.registry.get_manifest(APP, LATEST)


async def test_a_long_retry_after_is_respected(registry: Registry) -> None:
    registry.script.append(status(429, Retry_After="30"))
    async with client_of(registry) as client:
        with pytest.raises(Throttled) as caught:
            await client.registry.get_manifest(APP, LATEST)
        assert caught.value.retry_after == 30.0
        client.clock.move(29.0)
        with pytest.raises(LeftAlone):
            await client.registry.get_manifest(APP, LATEST)
        with pytest.raises(LeftAlone):
            await client.blob(BLOB.digest)
        assert len(registry.seen) == 1

        client.clock.move(1.0)
        assert (await client.registry.get_manifest(APP, LATEST)).digest == IMAGE.digest


@pytest.mark.parametrize("number", [429, 503])
async def test_a_short_retry_after_is_waited_for(registry: Registry, number: int) -> None:
    registry.script.append(status(number, Retry_After="2"))
    async with client_of(registry, throttle_wait_seconds=2.0) as client:
        assert (await client.registry.get_manifest(APP, LATEST)).digest == IMAGE.digest
        assert client.slept == [2.0]


async def test_a_429_without_a_time_means_ten_seconds(registry: Registry) -> None:
    registry.script.append(status(429))
    async with client_of(registry) as client:
        with pytest.raises(Throttled) as caught:
            await client.registry.get_manifest(APP, LATEST)
    assert caught.value.retry_after == 10.0


async def test_an_upstream_that_is_gone_is_left_alone_and_found_again(registry: Registry) -> None:
    async with client_of(registry, failures_to_open=2, open_seconds=5.0) as client:
        await registry.stop()
        for error in (Unreachable, Unreachable, LeftAlone):
            with pytest.raises(error, match="Connection refused"):
                await client.registry.head_manifest(APP, LATEST)
        await registry.start()
        client.clock.move(5.0)
        assert await client.registry.head_manifest(APP, LATEST) == IMAGE.digest


async def test_an_upstream_that_says_nothing_is_waited_for_its_time(registry: Registry) -> None:
    async def silent(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    registry.script.extend([silent, silent])
    async with client_of(registry, idle_seconds=0.05) as client:
        with pytest.raises(Unreachable, match="no answer in time"):
            await client.registry.get_manifest(APP, LATEST)
    async with client_of(registry, answer_seconds=0.05) as client:
        with pytest.raises(Unreachable, match=r"did not answer within 0\.05 s"):
            await client.registry.get_manifest(APP, LATEST)


async def test_what_is_no_http_is_a_failure() -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"220 smtp.example ESMTP\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    site = Site()
    site._address = replace(site._address, port=server.sockets[0].getsockname()[1])
    async with server, client_of(site) as client:
        with pytest.raises(Unreachable):
            await client.registry.get_manifest(APP, LATEST)
