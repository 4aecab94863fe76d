"""What webhooks hear of the work of a proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from tests.helpers.components import http_session, running, small_cluster
from tests.helpers.events import events_in
from tests.helpers.ports import free_address
from tests.helpers.pushing import push_blob, push_image
from tests.helpers.registry import an_image
from tests.helpers.tools import until

from kraken.core.digest import Digest
from kraken.notifications.settings import EndpointSettings, NotificationSettings
from kraken.proxy.app import Proxy
from kraken.proxy.settings import ProxySettings
from kraken.runtime.web import HttpSettings

IMAGE = an_image(b"a layer")
CONFIG, LAYER = map(Digest.of, IMAGE.blobs)


class Receiver:
    """A webhook that takes everything."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []

    async def take(self, request: web.Request) -> web.Response:
        self.heard += events_in(await request.read())
        return web.Response()

    @property
    def targets(self) -> list[tuple[str, str, str | None]]:
        return [(it["action"], it["target"].get("digest", ""), it["target"].get("tag")) for it in self.heard]


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[Receiver, str]]:
    receiver, address, app = Receiver(), free_address(), web.Application()
    app.router.add_post("/", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, address.host, address.port).start()
    try:
        yield receiver, f"http://{address}/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def told(tmp_path: Path) -> AsyncIterator[tuple[aiohttp.ClientSession, Receiver]]:
    """A client of a proxy, and a webhook that hears everything."""
    async with small_cluster(tmp_path) as cluster, listening() as (receiver, url):
        hook = EndpointSettings("hook", url, ignore_actions=())
        listen = HttpSettings(listen=free_address())
        notifications = NotificationSettings((hook,))
        proxy = Proxy(ProxySettings(data=tmp_path, http=listen, cluster=cluster.settings, notifications=notifications))
        async with running(proxy), http_session(proxy.http) as session:
            yield session, receiver


async def test_a_push_a_pull_and_a_delete_are_told_in_order(tmp_path: Path) -> None:
    async with told(tmp_path) as (session, receiver):
        await push_image(session, "team/app", IMAGE, "v1")
        async with session.get("/v2/team/app/manifests/v1") as answer:
            await answer.read()
        async with session.get(f"/v2/team/app/blobs/{LAYER}") as answer:
            await answer.read()
        for reference in ("v1", IMAGE.digest):
            async with session.delete(f"/v2/team/app/manifests/{reference}") as answer:
                assert answer.status == 202
        async with session.delete(f"/v2/team/app/blobs/{LAYER}") as answer:
            assert answer.status == 202

        manifest = str(IMAGE.digest)
        expected = [
            ("push", str(CONFIG), None),
            ("push", str(LAYER), None),
            ("push", manifest, "v1"),
            ("pull", manifest, "v1"),
            ("pull", str(LAYER), None),
            ("delete", "", "v1"),
            ("delete", manifest, None),
            ("delete", str(LAYER), None),
        ]
        await until(lambda: len(receiver.targets) >= len(expected), "all is told")
        assert receiver.targets == expected
        pushed = receiver.heard[2]
        assert pushed["target"]["mediaType"] == IMAGE.media_type
        assert pushed["target"]["repository"] == "team/app"
        assert pushed["target"]["size"] == len(IMAGE.manifest)
        assert pushed["target"]["url"].endswith(f"/v2/team/app/manifests/{manifest}")
        assert [it["digest"] for it in pushed["target"]["references"]] == [str(CONFIG), str(LAYER)]
        assert pushed["request"]["method"] == "PUT"


async def test_a_mount_tells_where_the_blob_comes_from(tmp_path: Path) -> None:
    async with told(tmp_path) as (session, receiver):
        await push_blob(session, "team/base", b"a layer")
        for query in (f"mount={LAYER}&from=team/base", f"mount={LAYER}"):
            async with session.post(f"/v2/team/app/blobs/uploads/?{query}") as answer:
                assert answer.status == 201

        await until(lambda: len(receiver.heard) >= 3, "all is told")
        assert [it["action"] for it in receiver.heard] == ["push", "mount", "push"]
        assert receiver.heard[1]["target"]["fromRepository"] == "team/base"


async def test_what_is_refused_is_not_told(tmp_path: Path) -> None:
    async with told(tmp_path) as (session, receiver):
        headers = {"Content-Type": IMAGE.media_type}
        async with session.put("/v2/team/app/manifests/v1", data=IMAGE.manifest, headers=headers) as answer:
            assert answer.status == 400
        async with session.delete("/v2/team/app/manifests/v1") as answer:
            assert answer.status == 404
        async with session.get(f"/v2/team/app/blobs/{LAYER}") as answer:
            assert answer.status == 404
        await push_blob(session, "team/app", b"last")

        await until(lambda: bool(receiver.heard), "the push is told")
        assert [it["target"]["digest"] for it in receiver.heard] == [str(Digest.of(b"last"))]
