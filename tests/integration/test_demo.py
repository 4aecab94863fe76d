"""`kraken demo` from the outside, without a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from kraken.cli.demo.image import Image, build_image
from kraken.cli.demo.registry import Repository, client_session, pull
from kraken.core.errors import Corrupt, Unavailable
from kraken.core.peers import Address
from kraken.core.pieces import MIB

KEYS = [
    "ok",
    "image_bytes",
    "agents",
    "seconds_p50",
    "seconds_max",
    "peer_byte_share",
    "origin_copies",
    "backend_reads",
]


async def start_demo(tmp_path: Path, *flags: str) -> asyncio.subprocess.Process:
    environ = {name: text for name, text in os.environ.items() if not name.startswith("KRAKEN_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "kraken",
        "demo",
        *flags,
        stdout=asyncio.subprocess.PIPE,
        env=environ | {"TMPDIR": str(tmp_path)},
    )


async def test_the_demo_checks_every_byte_and_ends_with_its_figures(tmp_path: Path) -> None:
    process = await start_demo(tmp_path, "--mib", "24", "--agents", "3")
    out, _ = await process.communicate()

    lines = out.decode().splitlines()
    figures = json.loads(lines[-1])
    assert process.returncode == 0
    assert list(figures) == KEYS
    assert figures["ok"] is True
    assert figures["agents"] == 3
    assert figures["image_bytes"] >= 24 * MIB
    assert 0 < figures["peer_byte_share"] < 1
    assert 0.9 < figures["origin_copies"] < 3.1
    assert figures["backend_reads"] == 0
    assert sum(line.startswith("agent-2  100%") for line in lines) == 1
    assert os.listdir(tmp_path) == []


async def test_a_demo_that_is_stopped_leaves_nothing_behind(tmp_path: Path) -> None:
    process = await start_demo(tmp_path)
    assert process.stdout is not None
    assert b"cluster" in await process.stdout.readline()

    process.send_signal(signal.SIGTERM)

    await process.communicate()
    assert process.returncode == 1
    assert os.listdir(tmp_path) == []


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build_image(tmp_path_factory.mktemp("image"), MIB, roots=[])


@asynccontextmanager
async def a_lying_registry(image: Image, lie: bytes, status: int = 200) -> AsyncIterator[Address]:
    """A registry that has the right manifest, and answers for each blob its bytes with `lie` at the end."""
    blobs = {str(blob.digest): blob.path.read_bytes() for blob in image.blobs}

    async def manifest(_request: web.Request) -> web.Response:
        return web.Response(body=image.manifest, headers={"Docker-Content-Digest": str(image.digest)})

    async def blob(request: web.Request) -> web.Response:
        data = blobs[request.match_info["digest"]]
        return web.Response(body=data[: len(data) - len(lie)] + lie, status=status)

    app = web.Application()
    app.router.add_get("/v2/a/b/manifests/1", manifest)
    app.router.add_get("/v2/a/b/blobs/{digest}", blob)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield Address("127.0.0.1", runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def pull_from(address: Address) -> str:
    async with client_session() as session:
        return str(await pull(Repository(session, address, "a/b"), "1", lambda _: None))


async def test_the_pulling_client_accepts_what_is_right(image: Image) -> None:
    async with a_lying_registry(image, lie=b"") as address:
        assert await pull_from(address) == str(image.digest)


async def test_the_pulling_client_finds_wrong_bytes(image: Image) -> None:
    async with a_lying_registry(image, lie=b"wrong") as address:
        with pytest.raises(ExceptionGroup) as caught:
            await pull_from(address)

    assert {type(error) for error in caught.value.exceptions} == {Corrupt}


async def test_the_pulling_client_tells_an_error_status(image: Image) -> None:
    async with a_lying_registry(image, lie=b"", status=503) as address:
        with pytest.raises(ExceptionGroup) as caught:
            await pull_from(address)

    assert {type(error) for error in caught.value.exceptions} == {Unavailable}
