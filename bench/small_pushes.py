"""The load of the registry bench, as a process of its own: small images, pushed by clients at the same time.

    python -m bench.small_pushes URL REPOSITORY COUNT CLIENTS

Each image is a config, a layer of 2 KiB and a manifest: five requests. Prints the seconds that all took together.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
import time

import aiohttp

_IMAGE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_BYTES = {"Content-Type": "application/octet-stream"}


async def push_all(url: str, repository: str, count: int, clients: int) -> float:
    """Push `count` images. Returns: seconds."""
    numbers = iter(range(count))
    base = f"{url}/v2/{repository}"
    async with aiohttp.ClientSession() as session:

        async def client() -> None:
            for number in numbers:
                await _push(session, url, base, number)

        begun = time.monotonic()
        await asyncio.gather(*(client() for _ in range(clients)))
        return time.monotonic() - begun


async def _push(session: aiohttp.ClientSession, url: str, base: str, number: int) -> None:
    config = json.dumps({"architecture": "amd64", "os": "linux", "created_by": base, "number": number}).encode()
    layer = random.Random(f"{base} {number}").randbytes(2048)
    for blob in (config, layer):
        async with session.post(f"{base}/blobs/uploads/") as answer:
            location = answer.headers["Location"]
        location = location if location.startswith("http") else url + location
        mark = "&" if "?" in location else "?"
        async with session.put(f"{location}{mark}digest={_digest(blob)}", data=blob, headers=_BYTES) as answer:
            _check(answer)
    body = {
        "schemaVersion": 2,
        "mediaType": _IMAGE,
        "config": {"mediaType": _CONFIG, "digest": _digest(config), "size": len(config)},
        "layers": [{"mediaType": _LAYER, "digest": _digest(layer), "size": len(layer)}],
    }
    manifest = json.dumps(body).encode()
    headers = {"Content-Type": _IMAGE}
    async with session.put(f"{base}/manifests/v{number}", data=manifest, headers=headers) as answer:
        _check(answer)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _check(answer: aiohttp.ClientResponse) -> None:
    if answer.status != 201:
        raise RuntimeError(f"{answer.method} {answer.url} was answered {answer.status}")


if __name__ == "__main__":
    print(asyncio.run(push_all(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
