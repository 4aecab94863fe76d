"""`kraken tracker` as an operator runs it: a crowd over real sockets, data for consoles, and an end on SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.helpers.components import reachable
from tests.helpers.ports import free_address

from kraken.core.digest import Digest
from kraken.core.errors import Unavailable
from kraken.core.metainfo import swarm_id
from kraken.core.peers import Address, Role, peer_id
from kraken.core.pieces import piece_length_for
from kraken.runtime.web_client import HttpClient
from kraken.tracker.client import Announcer, TrackerClient
from kraken.tracker.live_view import SwarmView
from kraken.tracker.messages import SwarmAnnounce

START_SECONDS = 30.0
CROWD = 200


@asynccontextmanager
async def a_tracker(folder: Path, address: Address) -> AsyncIterator[asyncio.subprocess.Process]:
    config = folder / "tracker.yaml"
    config.write_text(f"component: tracker\nhttp:\n  listen: {address}\ncluster:\n  origins: ['127.0.0.1:1']\n")
    environ = {name: text for name, text in os.environ.items() if not name.startswith("KRAKEN_")}
    command = (sys.executable, "-m", "kraken", "tracker", "--config", str(config))
    process = await asyncio.create_subprocess_exec(*command, env=environ)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def answering(http: HttpClient, address: Address) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                await http.bytes("GET", address, "/healthz")
            except Unavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_crowd_meets_at_a_tracker_process(tmp_path: Path) -> None:
    address = free_address()
    digest = Digest.of(b"x")
    swarm = SwarmAnnounce(str(digest), swarm_id(digest, 1, piece_length_for(1)), want=20)
    agents = [Announcer(peer_id(b"%012d" % number), None, 7000 + number, Role.AGENT) for number in range(CROWD)]
    async with a_tracker(tmp_path, address) as process, reachable("tracker", [address]) as (http, members):
        await answering(http, address)
        client = TrackerClient(http, members)
        answers = await asyncio.gather(*(client.announce(agent, [swarm]) for agent in agents))
        view = await http.json("GET", address, f"/swarms/{swarm.swarm.hex()}", params={"limit": 1000}, into=SwarmView)
        page = (await http.bytes("GET", address, "/metrics")).decode()
        process.send_signal(signal.SIGTERM)

        assert await asyncio.wait_for(process.wait(), START_SECONDS) == 0

    handed = [{peer.port for peer in answer.swarms[0].peers} for answer in answers]
    assert all(7000 + number not in ports for number, ports in enumerate(handed))
    assert max(map(len, handed)) == 20
    assert {peer.port for peer in view.peers} == {agent.port for agent in agents}
    assert f'kraken_http_requests_total{{method="POST",route="/announce",status="200"}} {CROWD}.0' in page
