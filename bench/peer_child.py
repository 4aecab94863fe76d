"""A sender or a receiver of pieces, as a process of its own. Speaks JSON lines on standard output."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from kraken.agent.download import Download
from kraken.core.digest import Digest
from kraken.core.metainfo import Metainfo
from kraken.core.peers import Address, Role
from kraken.core.pieces import MIB
from kraken.observability.logs import LogSettings, configure, get_logger
from kraken.observability.metrics import Metrics
from kraken.p2p.dialing import Candidate
from kraken.p2p.events import PeersOffered
from kraken.p2p.io.node import PeerNode
from kraken.p2p.settings import PeerSettings, SwarmSettings, TlsMode
from kraken.runtime.allocator import keep_freed_buffers
from kraken.runtime.clock import SystemClock
from kraken.runtime.threads import FileThreads
from kraken.storage.hashing import Verify
from kraken.storage.io.catalog_store import CatalogBlobStore
from kraken.storage.io.disk import DiskMedium
from kraken.storage.io.uploads import UploadSessions
from kraken.storage.layout import Layout, session_id


def say(**values: object) -> None:
    print(json.dumps(values), flush=True)


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Site:
    """A store and a node."""

    def __init__(self, role: Role, data: Path, peer: PeerSettings, verify: Verify = Verify.BLOB) -> None:
        configure(LogSettings())
        keep_freed_buffers()
        self.threads = FileThreads()
        self.log, self.metrics, self.clock = (
            get_logger(role.value, "bench"),
            Metrics(role.value, "bench"),
            SystemClock(),
        )
        self.store = CatalogBlobStore(DiskMedium(data), self.threads, self.clock, self.log, self.metrics, verify)
        self.node = PeerNode(role, self.store, peer, SwarmSettings(), self.log, self.metrics)

    async def start(self) -> None:
        await self.store.start()
        await self.node.start()

    async def stop(self) -> None:
        await self.node.stop()
        await self.store.close()
        self.threads.close()


def with_tls(mode: TlsMode, certificates: Path | None) -> PeerSettings:
    """Settings of a peer. Args: certificates, a folder with node.pem, node.key and ca.pem; None for plain only."""
    if certificates is None:
        return PeerSettings()
    certificate, key, authority = (certificates / name for name in ("node.pem", "node.key", "ca.pem"))
    return PeerSettings(tls=mode, tls_cert_file=certificate, tls_key_file=key, tls_ca_file=authority)


async def send(data: Path, certificates: Path | None, source: Path, digest: Digest) -> None:
    """Hold a blob and serve it, over TLS to who asks so; for each line on standard input say what that took since."""
    site = Site(Role.ORIGIN, data, with_tls(TlsMode.OPTIONAL, certificates))
    await site.start()
    uploads = UploadSessions(site.store, site.threads, site.clock, site.log, site.metrics)
    session = session_id("0" * 32)
    await uploads.begin(session)

    async def chunks() -> AsyncIterator[bytes]:
        with source.open("rb") as file:
            while chunk := file.read(2**20):
                yield chunk

    await uploads.append(session, 0, chunks())
    metainfo = await uploads.commit(session, digest)
    before = cpu_seconds()
    say(peer=str(site.node.address), metainfo=metainfo.encode().hex())
    word = ""
    while word != "end\n":
        word = await asyncio.to_thread(sys.stdin.readline)
        now = cpu_seconds()
        say(cpu_seconds=now - before)
        before = now
    await site.stop()


def touch(path: Path, size: int) -> None:
    """Write all of a file that is there, so that nobody pays for blocks and pages that are used for the first time."""
    zeros = bytes(MIB)
    with path.open("r+b", buffering=0) as file:
        for begin in range(0, size, MIB):
            file.write(zeros[: size - begin])
        os.fsync(file.fileno())


async def pull(data: Path, settings: PeerSettings, metainfo: Metainfo, runs: int, verify: Verify) -> None:
    """Fetch a blob so many times and once more, which is the first and warms up; say what each took. The file is
    written full before.

    The address is said first. Before each run the peers are read, `role=address` each, and after it, for others may
    still fetch from here, a line that ends it.
    """
    site = Site(Role.AGENT, data, settings, verify)
    await site.start()
    say(peer=str(site.node.address))
    for _ in range(runs + 1):
        blob = await site.store.partial(metainfo)
        touch(Layout(data).partial(metainfo.digest), metainfo.size)
        runner = site.node.join(blob)
        say(joined=True)
        peers = tuple(map(_candidate, (await asyncio.to_thread(sys.stdin.readline)).split()))
        sent = site.metrics.value("kraken_p2p_bytes_total", direction="out", role="agent")
        before, loop_before, started = cpu_seconds(), time.thread_time(), time.monotonic()
        runner.feed(PeersOffered(peers))
        await Download(blob, runner, site.store, 30.0).run()
        say(
            cpu_seconds=cpu_seconds() - before,
            loop_seconds=time.thread_time() - loop_before,
            seconds=time.monotonic() - started,
            sent_bytes=site.metrics.value("kraken_p2p_bytes_total", direction="out", role="agent") - sent,
        )
        await asyncio.to_thread(sys.stdin.readline)
        say(served_cpu_seconds=cpu_seconds() - before)
        site.node.leave(runner)
        site.node.forget(metainfo.swarm)
        blob.release()
        await site.store.remove(metainfo.digest)
    await site.stop()


def _candidate(text: str) -> Candidate:
    role, _, address = text.partition("=")
    return Candidate(Address.parse(address), Role(role))


def main() -> None:
    role, data, folder, *rest = sys.argv[1:]
    certificates = Path(folder) if folder else None
    if role == "send":
        asyncio.run(send(Path(data), certificates, Path(rest[0]), Digest.parse(rest[1])))
    else:
        mode, metainfo, runs, verify = rest
        asyncio.run(
            pull(
                Path(data),
                with_tls(TlsMode(mode), certificates),
                Metainfo.decode(bytes.fromhex(Path(metainfo).read_text())),
                int(runs),
                Verify(verify),
            )
        )


if __name__ == "__main__":
    main()
