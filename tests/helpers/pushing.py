"""Pushes, as a plain client makes them."""

from __future__ import annotations

import aiohttp
from tests.helpers.registry import Image

from kraken.core.digest import Algorithm, Digest


async def push_blob(
    session: aiohttp.ClientSession, repository: str, data: bytes, algorithm: Algorithm = Algorithm.SHA256
) -> Digest:
    """Push a blob by one POST."""
    digest = Digest.of(data, algorithm)
    path = f"/v2/{repository}/blobs/uploads/"
    async with session.post(path, params={"digest": str(digest)}, data=data) as answer:
        assert answer.status == 201, await answer.text()
    return digest


async def put_manifest(session: aiohttp.ClientSession, repository: str, image: Image, reference: object) -> None:
    """Push the manifest of an image whose blobs have been pushed."""
    path = f"/v2/{repository}/manifests/{reference}"
    async with session.put(path, data=image.manifest, headers={"Content-Type": image.media_type}) as answer:
        assert answer.status == 201, await answer.text()


async def push_image(session: aiohttp.ClientSession, repository: str, image: Image, *tags: str) -> None:
    """Push an image whole; without a tag by its digest."""
    for data in image.blobs:
        await push_blob(session, repository, data)
    for reference in tags or (image.digest,):
        await put_manifest(session, repository, image, reference)
