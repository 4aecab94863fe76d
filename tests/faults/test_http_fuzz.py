"""Requests that nobody would send, at proxy and agent: each is answered in good form, or its connection is closed.

What is sent arrives in pieces of any size. The same requests are drawn in each run;
`FUZZ_REQUESTS=20000 pytest tests/faults/test_http_fuzz.py` draws so many others, and a failure among those tells how to
draw it again.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from tests.helpers.dev_cluster import DevCluster, dev_cluster, fetched
from tests.helpers.odd_requests import IMAGE, Request, connections, requests
from tests.helpers.pulling import client
from tests.helpers.pushing import push_blob, push_image
from tests.helpers.tools import wait_until

from kraken.cli.layout import Counts
from kraken.core.digest import Algorithm
from kraken.core.peers import Address
from kraken.oci.errors import Code

REQUESTS: Final = int(os.environ.get("FUZZ_REQUESTS", "0"))
FUZZ: Final = settings(
    max_examples=REQUESTS or 450,
    derandomize=not REQUESTS,
    print_blob=True,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
FEWER: Final = settings(FUZZ, max_examples=REQUESTS or 130)
"""For what mostly stays unfinished, and so has to be waited for."""

WITHOUT_END: Final = pytest.mark.timeout(0 if REQUESTS else 120)

NO_REQUEST: Final = (400, 408, 414, 431)
"""What is said to bytes that are no HTTP, or too many or too slow to become a request."""

_SECONDS: Final = 20.0

COUNTS: Final = Counts(origins=2, trackers=1, indexes=1, proxies=1, agents=1)
IMPATIENT: Final = {"http": {"header_seconds": 0.1, "idle_seconds": 0.1, "keepalive_seconds": 0.1}}
"""What stays unfinished is ended soon, so that a test of it is soon over."""


class Target:
    """A cluster that something can be found in, and what its log has said since it was last looked at."""

    def __init__(self, cluster: DevCluster) -> None:
        self.cluster = cluster
        self._read = 0

    async def fill(self) -> None:
        """Put there what requests name."""
        async with client(self.cluster.proxy) as session:
            await push_image(session, "team/app", IMAGE, "latest")
            await push_blob(session, "team/app", b"a layer", Algorithm.SHA512)

    def begin_upload(self) -> bytes:
        """Where an upload goes on that has just begun."""
        place = f"http://{self.cluster.proxy}/v2/team/app/blobs/uploads/"
        with urllib.request.urlopen(urllib.request.Request(place, method="POST"), timeout=_SECONDS) as answer:
            return str(answer.headers["Location"]).encode()

    def new_lines(self) -> list[str]:
        with self.cluster.log.open("rb") as log:
            log.seek(self._read)
            data = log.read()
        self._read += len(data)
        return data.decode(errors="replace").splitlines()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """It is as healthy afterwards as it was before."""
    data = tmp_path_factory.mktemp("fuzz")
    with dev_cluster(data, COUNTS, settings={"proxy": IMPATIENT, "agent": IMPATIENT}) as cluster:
        filled = Target(cluster)
        asyncio.run(filled.fill())
        yield filled
        assert cluster.crashes() == 0
        for name in ("proxy-1", "agent-1"):
            assert json.loads(fetched(cluster[name].http, "/readyz")) == {"ready": True}
            # The one that asks is open as well.
            wait_until(lambda name=name: cluster.metric(name, "kraken_http_connections") == 1, "all are closed")  # type: ignore[misc]
        asyncio.run(filled.fill())
        assert asyncio.run(pull_image(cluster.agent)) == IMAGE.manifest


async def pull_image(registry: Address) -> bytes:
    async with client(registry) as session, session.get("/v2/team/app/manifests/latest") as answer:
        return await answer.read()


@pytest.mark.parametrize("member", ["proxy-1", "agent-1"])
@WITHOUT_END
def test_any_request_is_answered_in_good_form(target: Target, member: str) -> None:
    @FUZZ
    @given(requests())
    def fuzz(request: Request) -> None:
        answer = exchange(target, member, request)
        check_form(request, answer)

    fuzz()


@pytest.mark.parametrize("member", ["proxy-1", "agent-1"])
@WITHOUT_END
def test_any_bytes_leave_the_registry_well(target: Target, member: str) -> None:
    @FEWER
    @given(connections())
    def fuzz(request: Request) -> None:
        exchange(target, member, request)

    fuzz()


def exchange(target: Target, member: str, request: Request) -> bytes:
    """Send what is to be sent. Returns: all that came back until the connection was closed."""
    session = target.begin_upload() if request.names_session else b""
    target.new_lines()
    answer = b""
    with socket.create_connection(_pair(target.cluster[member].http), timeout=_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(BrokenPipeError, ConnectionResetError):  # closed already: what came before counts
            for piece in request.pieces(session):
                connection.sendall(piece)
            while received := connection.recv(1 << 16):
                answer += received
    note(f"{member} answered {answer[:2000]!r}")
    statuses = [int(status) for status in re.findall(rb"(?:^|\r\n|\}|\n)HTTP/1\.[01] (\d{3}) ", answer)]
    assert all(status < 500 or status == 503 for status in statuses), statuses
    assert b"Traceback" not in answer
    assert b".py" not in answer
    wrong = [line for line in target.new_lines() if "Traceback" in line or "request_failed" in line]
    assert not wrong, "\n".join(wrong)
    return answer


def check_form(request: Request, answer: bytes) -> None:
    """An answer is whole, and an error under /v2/ is in the registry's form.

    A request that is not HTTP, or is too large or too slow to become one, is nothing that a registry was asked: then
    the connection is closed.
    """
    answer = re.sub(rb"^HTTP/1\.1 100 Continue\r\n\r\n", b"", answer)
    if not answer:
        return
    head, end, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    assert end, head
    status = int(first.split()[1])
    headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    if "docker-distribution-api-version" not in headers:
        is_closed = first.startswith("HTTP/1.0 ") or headers.get("connection") == "close"
        assert (is_closed and status in NO_REQUEST) or not re.match(rb"(?!CONNECT )\S+ /v2[/? ]", request.data), head
        return
    if request.method == "HEAD" or status in (204, 304):
        return
    length = int(headers["content-length"])
    assert len(body) >= length
    if status in (400, 401, 403, 404, 405, 413, 414, 416, 503):
        assert headers["content-type"] == "application/json"
        errors = json.loads(body[:length])["errors"]
        assert errors
        for error in errors:
            assert set(error) == {"code", "message", "detail"}
            assert error["code"] in Code.__members__
    else:
        assert status in (200, 201, 202, 206, 431), head


def _pair(address: Address) -> tuple[str, int]:
    return address.host, address.port
