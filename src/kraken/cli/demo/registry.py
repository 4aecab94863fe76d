"""A small OCI client, as any other would do it: pushes to a registry, pulls from one, and checks every digest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import aiohttp
from yarl import URL

from kraken.cli.demo.image import MANIFEST_TYPE, Blob, Image
from kraken.core.digest import Digest
from kraken.core.errors import Corrupt, Unavailable
from kraken.core.peers import Address
from kraken.core.pieces import KIB, MIB

OnBytes = Callable[[int], None]
"""Told how many more bytes have passed."""

_AT_ONCE = 3
"""Layers pushed or pulled at once, like docker and containerd."""

_CHUNK = MIB


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of a registry, over plain HTTP."""

    session: aiohttp.ClientSession
    address: Address
    name: str

    def url(self, rest: str) -> URL:
        return URL(f"http://{self.address}/v2/{self.name}/{rest}")


def client_session() -> aiohttp.ClientSession:
    """A session that waits for slow bytes, but never for none at all."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=120),
        auto_decompress=False,
        read_bufsize=256 * KIB,
    )


async def push(repository: Repository, image: Image, tag: str) -> None:
    """Push all blobs, several at once, then the manifest.

    Raises: Unavailable, when the registry answers with an error.
    """
    slots = asyncio.Semaphore(_AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for blob in image.blobs:
            group.create_task(_push_blob(repository, blob, slots))
    headers = {"Content-Type": MANIFEST_TYPE}
    async with repository.session.put(
        repository.url(f"manifests/{tag}"), data=image.manifest, headers=headers
    ) as response:
        await _expect(response, 201)


async def pull(repository: Repository, tag: str, on_bytes: OnBytes) -> Digest:
    """Pull the manifest and all that it names, several blobs at once. The bytes are hashed, and not kept.

    Returns: the digest of the manifest.
    Raises: Corrupt, when anything is not what its digest says; Unavailable, when the registry answers an error.
    """
    headers = {"Accept": MANIFEST_TYPE}
    async with repository.session.get(repository.url(f"manifests/{tag}"), headers=headers) as response:
        await _expect(response, 200)
        data = await response.read()
        promised = response.headers.get("Docker-Content-Digest", "")
    digest = Digest.of(data)
    if promised != str(digest):
        raise Corrupt(f"{repository.address} sent a manifest of {digest} and called it {promised!r}")
    manifest = json.loads(data)
    slots = asyncio.Semaphore(_AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for described in [manifest["config"], *manifest["layers"]]:
            group.create_task(_pull_blob(repository, described["digest"], described["size"], slots, on_bytes))
    return digest


async def _push_blob(repository: Repository, blob: Blob, slots: asyncio.Semaphore) -> None:
    session = repository.session
    async with slots:
        async with session.post(repository.url("blobs/uploads/")) as response:
            await _expect(response, 202)
            location = repository.url("").join(URL(response.headers["Location"]))
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
        async with session.patch(location, data=_read(blob), headers=headers) as response:
            await _expect(response, 202)
            location = repository.url("").join(URL(response.headers["Location"]))
        async with session.put(location.update_query(digest=str(blob.digest))) as response:
            await _expect(response, 201)


async def _pull_blob(
    repository: Repository, digest: str, size: int, slots: asyncio.Semaphore, on_bytes: OnBytes
) -> None:
    wanted = Digest.parse(digest)
    hasher = wanted.algorithm.hasher()
    received = 0
    async with slots, repository.session.get(repository.url(f"blobs/{digest}")) as response:
        await _expect(response, 200)
        async for chunk in _large_chunks(response.content):
            received += len(chunk)
            on_bytes(len(chunk))
            await asyncio.to_thread(hasher.update, chunk)
    if received != size or hasher.hexdigest() != wanted.encoded:
        raise Corrupt(f"{repository.address} sent {received} bytes for {digest}, which they are not")


async def _read(blob: Blob) -> AsyncIterator[bytes]:
    with blob.path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            yield chunk


async def _large_chunks(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The stream in chunks of about 1 MiB: small ones would cost more in hand-overs than in hashing."""
    parts: list[bytes] = []
    size = 0
    async for part in stream.iter_any():
        parts.append(part)
        size += len(part)
        if size >= _CHUNK:
            yield b"".join(parts)
            parts.clear()
            size = 0
    if parts:
        yield b"".join(parts)


async def _expect(response: aiohttp.ClientResponse, status: int) -> None:
    if response.status != status:
        answer = (await response.content.read(2 * KIB)).decode("utf-8", "replace").strip()
        raise Unavailable(f"{response.method} {response.url} answered {response.status}: {answer}")
