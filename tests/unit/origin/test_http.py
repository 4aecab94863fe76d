"""What the cluster tests do not reach: long commits, and answers that break off."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from tests.helpers.blobs import a_blob
from tests.unit.origin.cluster import cluster_of, free_addresses

from kraken.core.errors import Unavailable
from kraken.core.metainfo import Metainfo
from kraken.core.peers import Address
from kraken.core.pieces import BLOCK_LENGTH, MIB
from kraken.origin.replica_sender import HttpReplicaSender
from kraken.runtime import signs_of_life
from kraken.runtime.bandwidth import Bandwidth
from kraken.runtime.web_client import ClientSettings, HttpClient
from kraken.storage.io import http_body
from kraken.storage.layout import Layout


async def test_a_client_hears_that_a_long_commit_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = a_blob()
    signs = 0
    enough = asyncio.Event()
    really_write = signs_of_life._write_interim

    async def count(request: web.Request) -> None:
        nonlocal signs
        await really_write(request)
        signs += 1
        if signs == 3:
            enough.set()

    async def slow(_self: HttpReplicaSender, _host: Address, _metainfo: Metainfo) -> None:
        await enough.wait()

    monkeypatch.setattr(signs_of_life, "_SIGN_OF_LIFE_SECONDS", 0.001)
    monkeypatch.setattr(signs_of_life, "_write_interim", count)
    monkeypatch.setattr(HttpReplicaSender, "send", slow)
    async with cluster_of(2, tmp_path) as cluster:
        answer = await cluster.client.put_blob(blob.digest, blob.data)
        again = await cluster.client.size(blob.digest)  # the connection is still in step

    assert (answer.size, answer.replicas, again) == (len(blob.data), 2, len(blob.data))
    assert signs >= 3


async def test_a_piece_that_rots_during_an_answer_cuts_it_and_never_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = a_blob(pieces=8, tail=BLOCK_LENGTH)
    monkeypatch.setattr(http_body, "_SENT_AT_ONCE", MIB)
    async with cluster_of(1, tmp_path) as cluster:
        address = cluster.settings.origins[0]
        await cluster.client.put_blob(blob.digest, blob.data)
        path = Layout(tmp_path / str(address.port)).blob(blob.digest)
        with path.open("r+b") as file:
            file.seek(6 * BLOCK_LENGTH)
            file.write(b"rot!")

        received = bytearray()

        async def receive() -> None:
            async with cluster.http.stream("GET", address, f"/blobs/{blob.digest}") as answer:
                async for chunk in answer.content.iter_any():
                    received.extend(chunk)

        with pytest.raises(Unavailable):
            await receive()

    assert bytes(received) == blob.data[: len(received)]
    assert len(received) <= 6 * BLOCK_LENGTH


async def test_a_replica_cannot_be_sent_to_nobody(tmp_path: Path) -> None:
    blob = a_blob()
    async with cluster_of(1, tmp_path) as cluster:
        await cluster.client.put_blob(blob.digest, blob.data)
        origin = cluster.origins[cluster.settings.origins[0]]
        client = HttpClient(ClientSettings())
        sender = HttpReplicaSender(client, origin.blobs, 5.0, Bandwidth())
        with pytest.raises(Unavailable):
            await sender.send(free_addresses(1)[0], blob.metainfo)
        await client.close()


async def test_an_origin_that_stops_reading_is_given_up(tmp_path: Path) -> None:
    blob = a_blob(pieces=80)

    async def answer_head_and_stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.readuntil(b"\r\n\r\n")).startswith(b"HEAD"):
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()
            return
        await stalled.wait()
        writer.close()

    stalled = asyncio.Event()
    address = free_addresses(1)[0]
    server = await asyncio.start_server(answer_head_and_stall, address.host, address.port)
    async with cluster_of(1, tmp_path) as cluster:
        await cluster.client.put_blob(blob.digest, blob.data)
        sender = HttpReplicaSender(cluster.http, cluster.origins[cluster.settings.origins[0]].blobs, 0.2, Bandwidth())
        with pytest.raises(Unavailable, match="took no byte"):
            await sender.send(address, blob.metainfo)
    stalled.set()
    server.close()
