"""Nodes that speak TLS to each other, or do not: what comes through, who is refused, and what is told of it."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs
from structlog.typing import EventDict
from tests.helpers.blobs import a_blob
from tests.helpers.certificates import Authority, Certificate
from tests.helpers.peer_sites import Scripted, Site, sites, until

from kraken.core.errors import BadConfig
from kraken.core.metainfo import SwarmId
from kraken.core.peers import Address, PeerId, Role
from kraken.core.pieces import KIB, MIB
from kraken.p2p import wire
from kraken.p2p.dialing import Candidate
from kraken.p2p.handshake import HANDSHAKE_BYTES, Handshake, Introduction
from kraken.p2p.io.live_view import swarm_view
from kraken.p2p.settings import PeerSettings, TlsMode

OFF, OPTIONAL, REQUIRED = TlsMode.OFF, TlsMode.OPTIONAL, TlsMode.REQUIRED


class Pki:
    """An authority of the cluster, and one of somebody else, with a certificate of each kind."""

    def __init__(self, folder: Path) -> None:
        self.cluster, stranger = Authority(folder / "cluster"), Authority(folder / "stranger")
        self.good = self.cluster.issue_to_peer("good")
        self.expired = self.cluster.issue_to_peer("expired", days=-1)
        self.foreign = stranger.issue_to_peer("foreign")
        self.foreign_ca = stranger.certificate

    def settings(self, mode: TlsMode, certificate: Certificate | None = None, ca: Path | None = None) -> PeerSettings:
        shown = certificate or self.good
        return PeerSettings(
            tls=mode,
            tls_cert_file=shown.certificate,
            tls_key_file=shown.key,
            tls_ca_file=ca or self.cluster.certificate,
            handshake_seconds=2.0,
        )

    def client(self, certificate: Certificate | None) -> ssl.SSLContext:
        """A context that takes every server, and shows this certificate, if any."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
        if certificate is not None:
            made.load_cert_chain(certificate.certificate, certificate.key)
        return made


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def logged() -> Iterator[list[EventDict]]:
    """What is logged at any level, whatever other tests have set."""
    before = structlog.get_config()
    structlog.reset_defaults()
    with capture_logs() as lines:
        yield lines
    structlog.configure(**before)


def refused(site: Site, reason: str) -> float:
    return site.metrics.value("kraken_p2p_tls_refused_total", reason=reason)


async def until_refused(site: Site, reason: str, times: int) -> None:
    await until(lambda: refused(site, reason) == times)


def encrypted(site: Site) -> float:
    return site.metrics.value("kraken_p2p_peers_encrypted")


@pytest.mark.parametrize(
    ("answering", "dialling", "over_tls"),
    [
        (OPTIONAL, OPTIONAL, True),
        (REQUIRED, REQUIRED, True),
        (REQUIRED, OPTIONAL, True),
        (OPTIONAL, REQUIRED, True),
        (OFF, OPTIONAL, False),
        (OPTIONAL, OFF, False),
    ],
)
async def test_pieces_come_over_tls_where_both_speak_it_and_in_plain_where_one_may(
    pki: Pki, answering: TlsMode, dialling: TlsMode, over_tls: bool
) -> None:
    blob = a_blob(pieces=40, tail=77)
    there = set(range(1, 40))  # not all, for two that have all part
    both = [pki.settings(answering), pki.settings(dialling)]
    async with sites(Role.AGENT, Role.AGENT, settings=both) as (anna, bert):
        await anna.put(blob, only=there)

        runner = await bert.fetch(blob, anna.candidate)

        await until(lambda: runner.engine.held == sum(1 << piece for piece in there))
        start = blob.metainfo.pieces.piece_length
        assert await runner.blob.read(start, blob.metainfo.size - start) == blob.data[start:]
        assert encrypted(anna) == encrypted(bert) == over_tls
        assert [neighbour.encrypted for neighbour in swarm_view(runner).neighbours] == [over_tls]


@pytest.mark.parametrize(("answering", "dialling"), [(OFF, REQUIRED), (REQUIRED, OFF)])
async def test_nothing_goes_plain_where_tls_is_required(pki: Pki, answering: TlsMode, dialling: TlsMode) -> None:
    blob = a_blob(pieces=2)
    both = [pki.settings(answering), pki.settings(dialling)]
    async with sites(Role.ORIGIN, Role.AGENT, settings=both) as (origin, agent):
        await origin.put(blob)

        runner = await agent.fetch(blob, origin.candidate)

        strict = origin if answering is REQUIRED else agent
        await until(lambda: refused(strict, "plain") >= 1)
        assert not runner.engine.held
        assert not runner.peers


@pytest.mark.parametrize("mode", [OPTIONAL, REQUIRED])
async def test_a_peer_of_another_authority_is_not_talked_to_in_plain_either(pki: Pki, mode: TlsMode) -> None:
    blob = a_blob(pieces=2)
    theirs = pki.settings(OPTIONAL, pki.foreign, pki.foreign_ca)
    async with sites(Role.ORIGIN, Role.AGENT, settings=[theirs, pki.settings(mode)]) as (origin, agent):
        await origin.put(blob)

        runner = await agent.fetch(blob, origin.candidate)

        await until(lambda: refused(agent, "untrusted") >= 1)
        await until(lambda: refused(origin, "refused_by_peer") >= 1)
        assert not runner.engine.held


async def test_agents_of_both_directions_share_what_they_hold(pki: Pki) -> None:
    blob = a_blob(pieces=60)
    async with sites(Role.AGENT, Role.AGENT, settings=pki.settings(REQUIRED)) as (anna, bert):
        await anna.put(blob, only=set(range(30)))
        await bert.put(blob, only=set(range(30, 60)))
        of_bert = await bert.fetch(blob)

        of_anna = await anna.fetch(blob, bert.candidate)

        await until(lambda: of_anna.engine.complete and of_bert.engine.complete)
        assert await of_anna.blob.read(0, blob.metainfo.size) == blob.data
        assert await of_bert.blob.read(0, blob.metainfo.size) == blob.data


async def test_a_certificate_that_is_not_good_enough_is_refused_with_its_reason_and_told_so(pki: Pki) -> None:
    blob = a_blob(pieces=1)
    async with sites(Role.ORIGIN, settings=pki.settings(OPTIONAL)) as (origin,):
        await origin.put(blob)
        for shown, reason in ((None, "no_certificate"), (pki.expired, "expired"), (pki.foreign, "untrusted")):
            with pytest.raises((ssl.SSLError, asyncio.IncompleteReadError)) as told:
                await dial_tls(origin, blob.metainfo.swarm, pki.client(shown))

            assert isinstance(told.value, ssl.SSLError)
            assert "ALERT" in (told.value.reason or "")
            await until_refused(origin, reason, 1)
        assert [refused(origin, reason) for reason in ("no_certificate", "expired", "untrusted")] == [1, 1, 1]
        assert not origin.node.runners
        assert origin.metrics.value("kraken_task_crashes_total", task="accept") == 0


@pytest.mark.parametrize("opening", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00", b"\x16\x03\x01\x00\x05hello" * 20])
async def test_half_a_tls_handshake_is_closed_in_time_and_counts_as_open_until_then(pki: Pki, opening: bytes) -> None:
    settings = replace(pki.settings(REQUIRED), handshake_seconds=0.4, max_connections=1)
    async with sites(Role.ORIGIN, settings=settings) as (origin,):
        address = origin.node.address
        slow = Scripted(*await asyncio.open_connection(address.host, address.port))
        slow.writer.write(opening)
        await until(lambda: origin.node._open() == 1)

        assert await slow.is_closed()
        await until(lambda: origin.node._open() == 0)
        slow.close()


async def test_a_certificate_that_is_replaced_is_used_from_the_next_connection_on(pki: Pki, tmp_path: Path) -> None:
    blob = a_blob(pieces=2)
    mine = Certificate(tmp_path / "node.pem", tmp_path / "node.key")
    copy(pki.good, mine)
    settings = pki.settings(REQUIRED, mine)
    async with sites(Role.ORIGIN, settings=settings) as (origin,):
        await origin.put(blob)
        before = await serial_shown(origin)
        old = await dial_tls(origin, blob.metainfo.swarm, pki.client(pki.good))
        copy(pki.cluster.issue_to_peer("renewed"), mine)
        assert await serial_shown(origin) == before

        origin.node.retune(settings)

        renewed = await serial_shown(origin)
        assert renewed != before
        mine.certificate.write_text("rubbish")
        origin.node.retune(settings)
        assert await serial_shown(origin) == renewed
        assert not old.reader.at_eof()
        old.close()


async def test_required_from_now_on_ends_what_is_plain_and_keeps_what_is_not(pki: Pki) -> None:
    blob = a_blob(pieces=2)
    async with sites(Role.ORIGIN, settings=pki.settings(OPTIONAL)) as (origin,):
        await origin.put(blob)
        plain = await Scripted.dial(origin, blob.metainfo.swarm, b"plain".ljust(20, b"-"))
        safe = await dial_tls(origin, blob.metainfo.swarm, pki.client(pki.good))
        await until(lambda: origin.metrics.value("kraken_p2p_peers") == 2)

        origin.node.retune(pki.settings(REQUIRED))

        assert await plain.is_closed()
        assert origin.metrics.value("kraken_p2p_peers") == encrypted(origin) == 1
        plain.close()
        safe.close()


async def test_a_node_does_not_start_with_a_certificate_that_nobody_would_take(pki: Pki) -> None:
    with pytest.raises(BadConfig, match="has expired"):
        async with sites(Role.AGENT, settings=pki.settings(OPTIONAL, pki.expired)):
            pass


async def test_how_long_the_certificate_lasts_is_told(pki: Pki) -> None:
    day = 86_400.0
    async with sites(Role.AGENT, Role.AGENT, settings=[pki.settings(OFF), pki.settings(OPTIONAL)]) as (off, on):
        assert off.metrics.value("kraken_p2p_certificate_seconds_left") == float("inf")
        assert abs(on.metrics.value("kraken_p2p_certificate_seconds_left") - 2 * day) < 600


async def test_a_certificate_that_lasts_a_month_or_less_is_warned_of(pki: Pki, logged: list[EventDict]) -> None:
    for days, warned in ((29, 1), (32, 0)):
        settings = pki.settings(OPTIONAL, pki.cluster.issue_to_peer(f"lasts-{days}", days=days))
        async with sites(Role.AGENT, settings=settings):
            assert [line["event"] for line in logged].count("certificate_expires") == warned
        logged.clear()


async def test_who_is_refused_is_said_aloud_once_and_counted_each_time(pki: Pki, logged: list[EventDict]) -> None:
    async with sites(Role.ORIGIN, settings=pki.settings(REQUIRED)) as (origin,):
        for tries in (1, 2, 3):
            peer = Scripted(*await asyncio.open_connection(origin.node.address.host, origin.node.address.port))
            peer.writer.write(b"\x13BitTorrent protocol")
            assert await peer.is_closed()
            await until_refused(origin, "plain", tries)
            peer.close()

        lines = [line for line in logged if line["event"] == "peer_tls_refused"]
        assert [(line["log_level"], line["reason"]) for line in lines] == [
            ("warning", "plain"), ("debug", "plain"), ("debug", "plain"),
        ]  # fmt: skip


# On the wire, below and within TLS.


async def test_what_comes_in_many_small_records_is_put_together(pki: Pki) -> None:
    blob = a_blob(pieces=2)
    async with sites(Role.AGENT, settings=pki.settings(REQUIRED)) as (agent,):
        runner = await agent.fetch(blob)
        sender = await dial_tls(agent, blob.metainfo.swarm, pki.client(pki.good))
        sender.say(wire.Flag(wire.Kind.HAVE_ALL))
        for _ in range(2):
            asked = await sender.hear(wire.Span)
            assert isinstance(asked, wire.Span)
            start = blob.metainfo.pieces.piece_length * asked.piece + asked.begin
            frame = wire.encode(wire.PieceHeader(asked.piece, asked.begin, asked.length))
            frame += blob.data[start : start + asked.length]
            for at in range(0, len(frame), 997):
                sender.writer.write(frame[at : at + 997])
                if at % 50 == 0:
                    await sender.writer.drain()
                    await asyncio.sleep(0)

        await until(lambda: runner.engine.complete)
        sender.close()


async def test_a_peer_that_leaves_in_the_middle_of_a_piece_leaves_no_memory_behind(pki: Pki) -> None:
    blob = a_blob(pieces=1, tail=256 * KIB)
    async with sites(Role.AGENT, settings=pki.settings(REQUIRED)) as (agent,):
        runner = await agent.fetch(blob)
        sender = await dial_tls(agent, blob.metainfo.swarm, pki.client(pki.good))
        sender.say(wire.Flag(wire.Kind.HAVE_ALL))
        asked = await sender.hear(wire.Span)
        assert isinstance(asked, wire.Span)
        sender.say(wire.PieceHeader(asked.piece, asked.begin, asked.length))
        sender.writer.write(bytes(100 * KIB))
        await until(lambda: agent.node.buffers.used_bytes > 0)

        sender.close()

        await until(lambda: not runner.peers and agent.node.buffers.used_bytes == 0)


async def test_a_ciphertext_that_was_changed_ends_its_connection_and_no_other(pki: Pki) -> None:
    blob = a_blob(pieces=200)
    async with sites(Role.ORIGIN, Role.AGENT, settings=pki.settings(REQUIRED)) as (origin, agent):
        await origin.put(blob)
        async with meddler(origin.node.address, changed_at=3 * MIB) as (address, met):
            runner = await agent.fetch(blob, Candidate(address, Role.ORIGIN))
            await until(lambda: met() and not runner.peers)
            assert agent.metrics.value("kraken_p2p_pieces_total", result="corrupt") == 0
            assert agent.metrics.value("kraken_p2p_pieces_total", result="verified") > 0

            another = await agent.fetch(blob, origin.candidate)

            await until(lambda: another.engine.complete)
            assert await another.blob.read(0, blob.metainfo.size) == blob.data


async def test_memory_for_pieces_is_bounded_over_tls_too(pki: Pki) -> None:
    blob = a_blob(pieces=120, tail=5)
    settings = replace(pki.settings(REQUIRED), buffer_bytes=16 * MIB)
    async with sites(Role.ORIGIN, Role.ORIGIN, Role.AGENT, settings=settings) as (one, two, agent):
        agent.node.buffers._max_bytes = 2 * 256 * KIB
        await one.put(blob)
        await two.put(blob)

        runner = await agent.fetch(blob, one.candidate, two.candidate)

        await until(lambda: runner.engine.complete)
        assert agent.node.buffers.used_bytes == 0
        assert await runner.blob.read(0, blob.metainfo.size) == blob.data


@pytest.mark.parametrize("side", ["sender", "receiver"])
async def test_limits_of_bandwidth_hold_over_tls(pki: Pki, side: str) -> None:
    blob = a_blob(pieces=12, tail=256 * KIB)
    async with sites(Role.ORIGIN, Role.AGENT, settings=pki.settings(REQUIRED)) as (origin, agent):
        await origin.put(blob)
        traffic = origin.node._traffic.sent if side == "sender" else agent.node._traffic.received
        traffic.set_rate(4 * MIB)
        begun = asyncio.get_running_loop().time()

        runner = await agent.fetch(blob, origin.candidate)

        await until(lambda: runner.engine.complete)
        assert asyncio.get_running_loop().time() - begun > 0.6  # 3 MiB, and a burst ahead of them
        assert await runner.blob.read(0, blob.metainfo.size) == blob.data


async def test_no_descriptor_is_left_when_a_connection_ends_while_it_sends(pki: Pki) -> None:
    blob = a_blob(pieces=64)
    async with sites(Role.ORIGIN, settings=pki.settings(REQUIRED)) as (origin,):
        await origin.put(blob)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            greedy = await dial_tls(origin, blob.metainfo.swarm, pki.client(pki.good))
            greedy.say(*(wire.Span(wire.Kind.REQUEST, piece, 0, 256 * KIB) for piece in range(3)))
            await greedy.reader.readexactly(64 * KIB)
            greedy.writer.transport.abort()
            await until(lambda: origin.metrics.value("kraken_p2p_peers") == 0)

        await until(lambda: not origin.node.runners or len(os.listdir("/proc/self/fd")) <= before + 1)


async def dial_tls(site: Site, swarm: SwarmId, context: ssl.SSLContext) -> Scripted:
    """A scripted peer within TLS."""
    address = site.node.address
    peer = Scripted(*await asyncio.open_connection(address.host, address.port, ssl=context))
    peer.writer.write(Handshake(swarm, PeerId(os.urandom(20))).encode())
    Handshake.decode(await peer.reader.readexactly(HANDSHAKE_BYTES))
    peer.say(wire.Extended(0, Introduction(Role.AGENT, "", 16 * MIB, 1).encode()))
    return peer


async def serial_shown(site: Site) -> str:
    """The number of the certificate that a node shows to who dials it."""
    address = site.node.address

    def look() -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with (
            socket.create_connection((address.host, address.port), timeout=5) as raw,
            context.wrap_socket(raw) as wrapped,
        ):
            return (wrapped.getpeercert(binary_form=True) or b"").hex()

    return await asyncio.to_thread(look)


def copy(source: Certificate, target: Certificate) -> None:
    target.certificate.write_bytes(source.certificate.read_bytes())
    target.key.write_bytes(source.key.read_bytes())


@asynccontextmanager
async def meddler(target: Address, changed_at: int) -> AsyncIterator[tuple[Address, Callable[[], bool]]]:
    """Somebody between two peers, who changes one byte of what comes from the second; whether it has."""
    changed = False

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, at: int | None) -> None:
        nonlocal changed
        with suppress(ConnectionError):
            while data := await reader.read(64 * KIB):
                if at is not None and not changed:
                    at -= len(data)
                    if at < 0:
                        changed = True
                        data = data[:-1] + bytes([data[-1] ^ 1])
                writer.write(data)
                await writer.drain()
        writer.close()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_connection(target.host, target.port)
        await asyncio.gather(carry(reader, their_writer, None), carry(their_reader, writer, changed_at))

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    async with server:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1]), lambda: changed
