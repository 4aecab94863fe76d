"""Whether a peer connection is encrypted: what is dialled, what is accepted, and with which certificates.

One port speaks both. The first byte tells: 0x16 begins a TLS hello, 0x13 a BitTorrent handshake. Whoever dials with
`optional` tries TLS, and dials again in plain only when the other side does not speak it at all: it closed, or
answered with something else. A side that spoke TLS and has the wrong certificate, or does not like ours, is never
asked in plain.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from typing import Final

from kraken.core.errors import BadConfig, KrakenError
from kraken.core.peers import Address
from kraken.observability.events import Event as LogEvent
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.p2p.io.line import Line
from kraken.p2p.io.tls_transport import TlsTransport
from kraken.p2p.io.transport import PlainTransport, Transport
from kraken.p2p.settings import PeerSettings, TlsMode
from kraken.runtime.threads import FileThreads
from kraken.security.cluster_tls import Refusal, TlsContexts, TlsFiles, load_contexts, refusal_of
from kraken.storage.io.jobs import finished

_HELLO: Final = b"\x16"
_TLS_FIRST_BYTES: Final = (_HELLO, b"\x15")  # a hello, or the alert of one who speaks TLS and refuses
_RECORD_THREADS: Final = 4
_HANDSHAKE_THREADS: Final = 2  # of their own: a crowd that shakes hands does not hold up what is being sent
_DAY_SECONDS: Final = 86_400.0
_WARN_DAYS: Final = 30
_QUIET_SECONDS: Final = 10.0  # between two warnings of one kind, for anybody can cause them


class TlsRefused(KrakenError):
    """A connection is not to be, for `refusal`."""

    def __init__(self, refusal: Refusal, message: str) -> None:
        super().__init__(message)
        self.refusal = refusal


class _NotTls(Exception):
    """The other side does not speak TLS."""


class Encryption:
    """The TLS of one node. Used on the loop only."""

    def __init__(self, settings: PeerSettings, log: Log, metrics: Metrics) -> None:
        self._settings = settings
        self._log = log
        self._metrics = metrics
        self._contexts: TlsContexts | None = None
        self._records = FileThreads(_RECORD_THREADS, "tls-records")
        self._handshakes = FileThreads(_HANDSHAKE_THREADS, "tls-handshakes")
        self._said_at: dict[Refusal, float] = {}
        metrics.p2p_certificate_seconds_left.set_function(self._seconds_left)

    @property
    def mode(self) -> TlsMode:
        return self._settings.tls

    def load(self, settings: PeerSettings) -> None:
        """Take over mode and certificates, for connections from now on.

        Raises: BadConfig, with the file and what is wrong with it; nothing has changed then.
        """
        files = _files(settings)
        contexts = load_contexts(files) if files is not None else None
        self._settings, self._contexts = settings, contexts
        if contexts is not None:
            self._log.info(LogEvent.CERTIFICATES_READ, mode=settings.tls.value, days_left=self._days_left())
            self._warn_of_expiry()

    def load_again(self, settings: PeerSettings) -> None:
        """`load`, while connections stand: what is wrong with the files is logged, and the old ones go on."""
        try:
            self.load(settings)
        except BadConfig as error:
            self._log.error(LogEvent.CERTIFICATES_REFUSED, error=str(error))

    async def watch_expiry(self) -> None:
        """Warn once a day when the certificate has 30 days left or less."""
        while True:
            await asyncio.sleep(_DAY_SECONDS)
            self._warn_of_expiry()

    async def dial(self, address: Address) -> Line:
        """A connected line. Raises: OSError, EOFError; TlsRefused."""
        line = await Line.to(address)
        if self._contexts is None:
            return line
        try:
            await self._shake(line, self._contexts.client)
        except _NotTls as error:
            line.close()
            if self.mode is TlsMode.REQUIRED:
                raise TlsRefused(Refusal.PLAIN, f"{address} speaks no TLS, which is required here") from error
            return await Line.to(address)
        except BaseException:
            line.close()
            raise
        return line

    async def answer(self, line: Line) -> None:
        """Let TLS begin on a line that somebody else has dialled, if it is to. Raises: OSError; TlsRefused."""
        if self._contexts is None:
            return
        first = await line.first_byte()
        if first == _HELLO:
            await self._shake(line, self._contexts.server)
        elif first and self.mode is TlsMode.REQUIRED:
            raise TlsRefused(Refusal.PLAIN, "it speaks no TLS, which is required here")

    def transport(self, line: Line) -> Transport:
        """What moves the bytes of a line from now on."""
        if isinstance(line.sock, ssl.SSLSocket):
            return TlsTransport(line.sock, self._records)
        return PlainTransport(line.sock)

    def tell_refused(self, peer: str, error: Exception) -> None:
        """Log why there is no connection; count it and say it aloud, though not too often, if TLS is the reason."""
        refusal = error.refusal if isinstance(error, TlsRefused) else None
        if isinstance(error, ssl.SSLError):
            refusal = refusal_of(error)
        if refusal is None:
            self._log.debug(LogEvent.PEER_REFUSED, peer=peer, error=str(error))
            return
        self._metrics.p2p_tls_refused.labels(reason=refusal.value).inc()
        now = asyncio.get_running_loop().time()
        aloud = now - self._said_at.get(refusal, -math.inf) >= _QUIET_SECONDS
        if aloud:
            self._said_at[refusal] = now
        say = self._log.warning if aloud else self._log.debug
        say(LogEvent.PEER_TLS_REFUSED, peer=peer, reason=refusal.value, error=str(error))

    def close(self) -> None:
        """Wait for the jobs that run."""
        self._handshakes.close()
        self._records.close()

    async def _shake(self, line: Line, context: ssl.SSLContext) -> None:
        """The TLS handshake, each step of which is a job. Raises: _NotTls, before the other side has spoken TLS."""
        answering = context.protocol == ssl.PROTOCOL_TLS_SERVER
        sock = context.wrap_socket(line.sock, server_side=answering, do_handshake_on_connect=False)
        line.sock = sock
        heard = answering
        while True:
            try:
                await finished(self._handshakes.submit(sock.do_handshake))
            except ssl.SSLWantReadError:
                if not heard:
                    await self._expect_tls(line)
                    heard = True
                await line.readable()
            except ssl.SSLWantWriteError:
                await line.writable()
            except ConnectionError as error:
                if heard:
                    raise
                raise _NotTls from error
            else:
                return

    async def _expect_tls(self, line: Line) -> None:
        """Wait for the first byte of the answer to our hello. Raises: _NotTls, when it is none of TLS."""
        try:
            first = await line.first_byte()
        except ConnectionError as error:
            raise _NotTls from error
        if first not in _TLS_FIRST_BYTES:
            raise _NotTls

    def _seconds_left(self) -> float:
        return math.inf if self._contexts is None else self._contexts.expires_at - time.time()

    def _days_left(self) -> int:
        return int(self._seconds_left() // _DAY_SECONDS)

    def _warn_of_expiry(self) -> None:
        if self._seconds_left() <= _WARN_DAYS * _DAY_SECONDS:
            path = str(self._settings.tls_cert_file)
            self._log.warning(LogEvent.CERTIFICATE_EXPIRES, file=path, days_left=self._days_left())


def _files(settings: PeerSettings) -> TlsFiles | None:
    """The files of the settings; None when they are not to be used."""
    certificate, key, authority = settings.tls_cert_file, settings.tls_key_file, settings.tls_ca_file
    if settings.tls is TlsMode.OFF:
        return None
    assert certificate is not None, "the settings refuse a mode without files"
    assert key is not None, "likewise"
    assert authority is not None, "likewise"
    return TlsFiles(certificate, key, authority)
