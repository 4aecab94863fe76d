"""Certificates made at test time, by an authority that only the test knows."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.tools import output_of, require

_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_LEAF = """
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage={usage}
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
subjectAltName={names}
"""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """For a server in this process."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.certificate, self.key)
        return made


class Authority:
    """Signs certificates for servers on loopback. `certificate` is what clients have to trust."""

    def __init__(self, directory: Path) -> None:
        require("openssl")
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key = directory / "authority.key"
        self.certificate = directory / "authority.pem"
        output_of(
            "openssl", "req", "-x509", *_CURVE, "-days", "2", "-subj", "/CN=kraken test authority",
            "-addext", "keyUsage=critical,keyCertSign", "-keyout", self._key, "-out", self.certificate,
        )  # fmt: skip

    def issue(
        self,
        name: str,
        alternatives: str = "IP:127.0.0.1,DNS:localhost",
        *,
        usage: str = "serverAuth",
        days: int = 2,
    ) -> Certificate:
        """A certificate for a server, or for whom `usage` (extendedKeyUsage) says.

        Args: alternatives, as openssl writes subjectAltName; days that it lasts from now on, less than 0 for one that
        has expired.
        """
        key, request, made = (self._directory / f"{name}.{suffix}" for suffix in ("key", "csr", "pem"))
        extensions = self._directory / f"{name}.cnf"
        extensions.write_text(_LEAF.format(names=alternatives, usage=usage))
        output_of("openssl", "req", "-new", *_CURVE, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        output_of(
            "openssl", "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key,
            "-CAcreateserial", "-days", str(days), "-extfile", extensions, "-out", made,
        )  # fmt: skip
        return Certificate(made, key)

    def issue_to_peer(self, name: str, days: int = 2) -> Certificate:
        """A certificate for a peer, which is both sides of its connections. Args: days, as for `issue`."""
        return self.issue(name, f"DNS:{name}", usage="serverAuth,clientAuth", days=days)
