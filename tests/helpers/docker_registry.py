"""Debian's docker-registry, with TLS and a password: a registry that is none of ours."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin

import yaml
from tests.helpers.certificates import Certificate
from tests.helpers.other_host import OtherHost
from tests.helpers.ports import free_address
from tests.helpers.registry import Image
from tests.helpers.tools import Process, environment, require, wait_until

from kraken.core.digest import Digest
from kraken.core.peers import Address

USER, PASSWORD = "reader", "correct horse"
_HTPASSWD = f"{USER}:$2y$05$d9R0pUMwQW63tfroTUuDXOgqvIzm2pWwEWBmBh5PGiIaIo1L.FzFe\n"


@dataclass
class DockerRegistry:
    """A running registry at `url`; `authority` is what its clients have to trust."""

    url: str
    authority: Path
    process: Process | None = field(default=None, repr=False)

    def push(self, repository: str, tag: str, image: Image) -> None:
        """Blobs first, then the manifest."""
        for blob in image.blobs:
            location = self._request("POST", f"/v2/{repository}/blobs/uploads/")["Location"]
            between = "&" if "?" in location else "?"
            self._request("PUT", f"{location}{between}digest={Digest.of(blob)}", blob)
        self._request("PUT", f"/v2/{repository}/manifests/{tag}", image.manifest, image.media_type)

    def answers(self) -> bool:
        """Whether it can be asked yet."""
        try:
            self._request("GET", "/v2/")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def _request(
        self, method: str, url: str, data: bytes | None = None, media_type: str = "application/octet-stream"
    ) -> dict[str, str]:
        """The headers of a good answer."""
        asked = urllib.request.Request(urljoin(self.url, url), data, method=method)
        asked.add_header("Authorization", "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode())
        if data is not None:
            asked.add_header("Content-Type", media_type)
        context = ssl.create_default_context(cafile=self.authority)
        context.check_hostname = False  # some tests give it a certificate that is for another host
        with urllib.request.urlopen(asked, timeout=20, context=context) as answer:
            answer.read()
            return dict(answer.headers)


@contextmanager
def docker_registry(
    directory: Path, certificate: Certificate, authority: Path, host: OtherHost | None = None
) -> Iterator[DockerRegistry]:
    """A registry that runs for as long as the block lasts. Its certificate may be for another host.

    Args: host, where it runs; None for here.
    """
    require("docker-registry")
    address = free_address() if host is None else Address(host.address, 5000)
    passwords, config = directory / "htpasswd", directory / "registry.yaml"
    passwords.write_text(_HTPASSWD)
    settings = {
        "version": "0.1",
        "log": {"accesslog": {"disabled": False}},
        "storage": {"filesystem": {"rootdirectory": str(directory / "registry")}},
        "http": {
            "addr": str(address),
            "tls": {"certificate": str(certificate.certificate), "key": str(certificate.key)},
        },
        "auth": {"htpasswd": {"realm": "a test", "path": str(passwords)}},
    }
    config.write_text(yaml.safe_dump(settings))
    log = directory / "registry.log"
    command = ["docker-registry", "serve", str(config)]
    process = Process(command if host is None else host.command(*command), log, env=environment())
    registry = DockerRegistry(f"https://{address}", authority, process)
    try:
        wait_until(registry.answers, f"docker-registry answers; see {log}")
        yield registry
    finally:
        process.stop()
