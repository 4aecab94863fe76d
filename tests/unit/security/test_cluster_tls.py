"""Certificates of a cluster: which are taken, and what is said of those that are not."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.helpers.certificates import Authority, Certificate

from kraken.core.errors import BadConfig
from kraken.security.cluster_tls import Refusal, TlsContexts, TlsFiles, load_contexts, refusal_of

DAY = 86400.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that the cluster does not know."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def node(authority: Authority) -> Certificate:
    return authority.issue_to_peer("node")


def files(certificate: Certificate, authority: Authority) -> TlsFiles:
    return TlsFiles(certificate.certificate, certificate.key, authority.certificate)


def test_contexts_are_mutual_and_of_tls_1_3_and_tell_when_they_expire(node: Certificate, authority: Authority) -> None:
    contexts = load_contexts(files(node, authority))

    for context in (contexts.server, contexts.client):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert abs(contexts.expires_at - time.time() - 2 * DAY) < 600


def test_the_cipher_is_one_that_the_cpu_has_instructions_for(node: Certificate, authority: Authority) -> None:
    assert shaken(load_contexts(files(node, authority)), load_contexts(files(node, authority))) == (
        "TLS_AES_256_GCM_SHA384"
    )


def wrong_files(node: Certificate, authority: Authority, stranger: Authority, folder: Path) -> dict[str, TlsFiles]:
    """What an operator may get wrong, by what is said of it."""
    empty, encrypted, unreadable = folder / "empty.pem", folder / "encrypted.key", folder / "nowhere.pem"
    empty.write_text("nothing\n")
    command = ["openssl", "pkey", "-in", node.key, "-aes256", "-passout", "pass:secret", "-out", encrypted]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    other, ca = authority.issue_to_peer("other"), authority.certificate
    expired = authority.issue_to_peer("expired", days=-1)
    one_sided = authority.issue("one-sided")
    foreign = stranger.issue_to_peer("foreign")
    return {
        f"tls_cert_file: cannot read {unreadable}": TlsFiles(unreadable, node.key, ca),
        f"tls_key_file: cannot read {unreadable}": TlsFiles(node.certificate, unreadable, ca),
        f"tls_ca_file: cannot read {unreadable}": TlsFiles(node.certificate, node.key, unreadable),
        f"tls_ca_file: {empty} has no certificate": TlsFiles(node.certificate, node.key, empty),
        f"tls_cert_file: {empty} has no certificate": TlsFiles(empty, node.key, ca),
        f"tls_key_file: {empty} has no private key": TlsFiles(node.certificate, empty, ca),
        f"tls_key_file: {encrypted} is encrypted": TlsFiles(node.certificate, encrypted, ca),
        f"tls_key_file: {other.key} is not the key of {node.certificate}": TlsFiles(node.certificate, other.key, ca),
        f"tls_cert_file: {expired.certificate}, or the authority in {ca}, has expired": files(expired, authority),
        f"tls_cert_file: {one_sided.certificate} is not for both sides": files(one_sided, authority),
        f"tls_cert_file: {foreign.certificate} is not signed by an authority in {ca}": files(foreign, authority),
    }


def test_what_is_wrong_with_the_files_is_said_by_their_names(
    node: Certificate, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    for expected, wrong in wrong_files(node, authority, stranger, tmp_path).items():
        with pytest.raises(BadConfig) as refused:
            load_contexts(wrong)

        assert str(refused.value).startswith(f"peer.{expected}")


def test_an_authority_that_is_being_replaced_is_trusted_beside_the_new_one(
    node: Certificate, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    both.write_text(authority.certificate.read_text() + stranger.certificate.read_text())
    new = stranger.issue_to_peer("new")

    old_side = load_contexts(TlsFiles(node.certificate, node.key, both))
    new_side = load_contexts(TlsFiles(new.certificate, new.key, both))

    assert shaken(old_side, new_side) == shaken(new_side, old_side) == "TLS_AES_256_GCM_SHA384"


def bare(change: Callable[[ssl.SSLContext], None] = lambda _: None) -> ssl.SSLContext:
    """A client that trusts everybody and shows nothing, changed."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    change(made)
    return made


def test_each_way_to_fail_has_its_reason(node: Certificate, authority: Authority, stranger: Authority) -> None:
    ours = load_contexts(files(node, authority))
    theirs = load_contexts(files(stranger.issue_to_peer("theirs"), stranger))
    expired = authority.issue_to_peer("late", days=-1)
    late = bare(lambda context: context.load_cert_chain(expired.certificate, expired.key))

    def of_old_times(context: ssl.SSLContext) -> None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    assert failed(ours.server, theirs.client) is Refusal.UNTRUSTED  # said by the one that dials
    assert failed(ours.server, bare()) is Refusal.NO_CERTIFICATE
    assert failed(ours.server, late) is Refusal.EXPIRED
    assert failed(ours.server, bare(of_old_times)) is Refusal.BROKEN


def shaken(one: TlsContexts, other: TlsContexts) -> str:
    """The cipher that one and the other agree on."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = one.client.wrap_bio(to_client, to_server)
    server = other.server.wrap_bio(to_server, to_client, server_side=True)
    handshake(client, server)
    cipher = client.cipher()
    assert cipher is not None
    return cipher[0]


def failed(answering: ssl.SSLContext, dialling: ssl.SSLContext) -> Refusal:
    """Why they do not agree."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = dialling.wrap_bio(to_client, to_server)
    server = answering.wrap_bio(to_server, to_client, server_side=True)
    with pytest.raises(ssl.SSLError) as refused:
        handshake(client, server)
    return refusal_of(refused.value)


def handshake(*sides: ssl.SSLObject) -> None:
    for _ in range(4):
        for side in sides:
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
