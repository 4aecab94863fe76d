"""Mutual TLS among the members of one cluster: contexts out of PEM files, tried as the other side will try them.

Both sides of a connection show a certificate that the cluster's own authority has signed. Names are not compared:
members come and go with their addresses, and the authority signs nobody else. What openssl checks of a certificate's
purpose is checked: where there is an extendedKeyUsage, it must have serverAuth and clientAuth, for a member is both.
"""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from kraken.core.errors import BadConfig

_EXPIRED: Final = 10  # X509_V_ERR_CERT_HAS_EXPIRED, of openssl's x509_vfy.h like those below
_NOT_YET_VALID: Final = 9
_WRONG_PURPOSE: Final = frozenset({26, 32})  # of its extendedKeyUsage, of its keyUsage
_MOST_ROUNDS: Final = 4  # a handshake of TLS 1.3 takes two


class Refusal(StrEnum):
    """Why a connection was refused; a label of metrics."""

    PLAIN = "plain"
    """The other side speaks no TLS where that is required."""
    NO_CERTIFICATE = "no_certificate"
    EXPIRED = "expired"
    """Or not valid yet."""
    UNTRUSTED = "untrusted"
    """Of another authority, or not for this purpose."""
    REFUSED_BY_PEER = "refused_by_peer"
    """The other side does not like our certificate, or our protocol."""
    BROKEN = "broken"
    """What came is no TLS, or no version of it that is spoken here."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. `section` is where the settings are that name them, for messages."""

    certificate: Path
    key: Path
    authority: Path
    section: str = "peer"


@dataclass(frozen=True, slots=True)
class TlsContexts:
    """What connections are made with. `expires_at`, of our own certificate: UTC, seconds since 1970."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    expires_at: float


def load_contexts(files: TlsFiles) -> TlsContexts:
    """Contexts that have shaken hands with each other, so that a certificate which others would refuse shows now.

    Raises: BadConfig, which names the file and says what to do: it cannot be read, is no PEM, does not belong to the
    others, or has expired.
    """
    where = f"{files.section}.tls_ca_file", f"{files.section}.tls_cert_file", f"{files.section}.tls_key_file"
    for setting, path in zip(where, (files.authority, files.certificate, files.key), strict=True):
        _check_readable(setting, path)
    _check_certificates(where[0], files.authority)
    _check_certificates(where[1], files.certificate)
    server, client = _context(files, ssl.PROTOCOL_TLS_SERVER), _context(files, ssl.PROTOCOL_TLS_CLIENT)
    try:
        return TlsContexts(server, client, _expiry_by_handshake(server, client))
    except ssl.SSLError as error:
        raise BadConfig(_what_is_wrong(files, error)) from error


def refusal_of(error: ssl.SSLError) -> Refusal:
    """Why a connection failed, from what openssl said."""
    if isinstance(error, ssl.SSLCertVerificationError):
        expired = error.verify_code in (_EXPIRED, _NOT_YET_VALID)
        return Refusal.EXPIRED if expired else Refusal.UNTRUSTED
    reason = error.reason or ""
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return Refusal.NO_CERTIFICATE
    return Refusal.REFUSED_BY_PEER if "ALERT" in reason else Refusal.BROKEN


def _check_readable(setting: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise BadConfig(
            f"{setting}: cannot read {path}: {error.strerror}; give a file that this process may read"
        ) from error


def _check_certificates(setting: str, path: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise BadConfig(
            f"{setting}: {path} has no certificate in PEM; it should begin with -----BEGIN CERTIFICATE-----"
        ) from error


def _context(files: TlsFiles, side: int) -> ssl.SSLContext:
    """For one side: TLS 1.3 only, without tickets, for peers stay connected and a session resumed would show nothing.

    The order of openssl's own ciphers is kept: AES-256-GCM first, of which the CPU has instructions. Both sides being
    ours, nothing else is ever chosen.
    """
    made = ssl.SSLContext(side)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    if side == ssl.PROTOCOL_TLS_SERVER:
        made.num_tickets = 0
    made.load_verify_locations(files.authority)
    try:
        made.load_cert_chain(files.certificate, files.key, password=lambda: _no_password(files))
    except ssl.SSLError as error:
        raise BadConfig(_what_is_wrong_with_the_key(files, error)) from error
    return made


def _no_password(files: TlsFiles) -> str:
    raise BadConfig(
        f"{files.section}.tls_key_file: {files.key} is encrypted, and nobody is there to ask for its passphrase; "
        "write it without one (openssl pkey) and let only this user read it"
    )


def _what_is_wrong_with_the_key(files: TlsFiles, error: ssl.SSLError) -> str:
    setting = f"{files.section}.tls_key_file: {files.key}"
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{setting} is not the key of {files.certificate}; give the one that its request was made with"
    return f"{setting} has no private key in PEM; it should begin with -----BEGIN PRIVATE KEY-----"


def _expiry_by_handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> float:
    """When our certificate expires, as the other side of a connection sees it. Raises: SSLError, when it refuses it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    dialling = client.wrap_bio(to_client, to_server)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_MOST_ROUNDS):
        for side in (dialling, answering):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    certificate = answering.getpeercert()
    assert certificate is not None, "a server that requires a certificate has one after the handshake"
    return float(ssl.cert_time_to_seconds(str(certificate["notAfter"])))


def _what_is_wrong(files: TlsFiles, error: ssl.SSLError) -> str:
    setting = f"{files.section}.tls_cert_file: {files.certificate}"
    code = error.verify_code if isinstance(error, ssl.SSLCertVerificationError) else None
    if code == _EXPIRED:
        return f"{setting}, or the authority in {files.authority}, has expired; issue a new one"
    if code == _NOT_YET_VALID:
        return f"{setting}, or the authority in {files.authority}, is not valid yet; see whether the clock is right"
    if code in _WRONG_PURPOSE:
        return f"{setting} is not for both sides of a connection; issue it with extendedKeyUsage=serverAuth,clientAuth"
    if code is None:
        return f"{setting} cannot be used: {error.reason or error}; issue one with a key of prime256v1"
    return (
        f"{setting} is not signed by an authority in {files.authority} ({error}); "
        "give the certificate of the authority that signed it, and what is between them in the certificate's own file"
    )
