"""Pulls and pushes of single blobs over HTTP, as a plain client makes them."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from tests.helpers.pushing import push_blob

from kraken.core.digest import Digest
from kraken.core.peers import Address
from kraken.core.pieces import MIB

REPOSITORY = "tests/blobs"


@dataclass(frozen=True, slots=True)
class Pulled:
    """What came of a GET: its status, and the digest and number of the bytes."""

    status: int
    digest: Digest
    size: int


def seeded_bytes(size: int, seed: int) -> bytes:
    """The same bytes for the same seed; they do not compress."""
    chance = random.Random(seed)
    parts = [chance.randbytes(min(MIB, size - at)) for at in range(0, size, MIB)]
    return b"".join(parts)


@asynccontextmanager
async def client(address: Address, seconds: float = 60.0) -> AsyncIterator[aiohttp.ClientSession]:
    """A session whose paths are relative to `address`; every request has a connection of its own."""
    async with aiohttp.ClientSession(
        f"http://{address}",
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=seconds),
        connector=aiohttp.TCPConnector(force_close=True),
    ) as session:
        yield session


async def push(address: Address, data: bytes) -> Digest:
    """Push a blob through a proxy."""
    async with client(address) as session:
        return await push_blob(session, REPOSITORY, data)


async def pull(address: Address, digest: Digest, headers: Mapping[str, str] | None = None) -> Pulled:
    """Pull a blob; its bytes are hashed, and not kept."""
    async with client(address) as session, session.get(blob_path(digest), headers=headers) as answer:
        hasher = digest.algorithm.hasher()
        size = 0
        async for chunk in answer.content.iter_any():
            hasher.update(chunk)
            size += len(chunk)
        return Pulled(answer.status, Digest(digest.algorithm, hasher.hexdigest()), size)


def right(digest: Digest, size: int) -> Pulled:
    """What a pull of a whole blob should give."""
    return Pulled(200, digest, size)


def blob_path(digest: Digest) -> str:
    return f"/v2/{REPOSITORY}/blobs/{digest}"
