"""Real OCI images without internet: busybox and layers of seeded bytes, put together by umoci."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers.pulling import seeded_bytes
from tests.helpers.tools import output_of, require

from kraken.core.digest import Digest
from kraken.core.pieces import KIB, MIB
from kraken.oci.manifests import OCI_INDEX, OCI_MANIFEST

BUSYBOX = Path("/bin/busybox")
SAYS = "the image runs"
"""What the image prints when it is run."""

_CREATED = "2020-01-01T00:00:00Z"
_APPLETS = ("sh", "echo", "cat", "sha256sum")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_LAYERS = {"app": (9 * MIB, 2 * MIB + 17, 300 * KIB, 1), "other": (3 * MIB, 40 * KIB, 5000, 64 * KIB)}


@dataclass(frozen=True, slots=True)
class Layout:
    """A directory in the OCI image layout. Its tags: app, other, and multi, an index of the two."""

    path: Path

    def source(self, tag: str) -> str:
        """As skopeo names it."""
        return f"oci:{self.path}:{tag}"

    def descriptor(self, tag: str) -> dict[str, Any]:
        for each in json.loads((self.path / "index.json").read_text())["manifests"]:
            if each.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag:
                found: dict[str, Any] = each
                return found
        raise AssertionError(f"{self.path} has no {tag}")

    def digest(self, tag: str) -> Digest:
        """Of the manifest or index."""
        return Digest.parse(self.descriptor(tag)["digest"])

    def blob(self, digest: Digest) -> bytes:
        return (self.path / "blobs" / digest.algorithm.value / digest.encoded).read_bytes()

    def digests(self, tag: str) -> set[str]:
        """Of everything that belongs to an image or index: manifests, configs, layers."""
        return self._reachable(self.digest(tag))

    def config_digest(self, tag: str) -> str:
        config: str = json.loads(self.blob(self.digest(tag)))["config"]["digest"]
        return config

    def _reachable(self, digest: Digest) -> set[str]:
        manifest = json.loads(self.blob(digest))
        found = {str(digest)}
        for child in manifest.get("manifests", []):
            found |= self._reachable(Digest.parse(child["digest"]))
        if "config" in manifest:
            found |= {each["digest"] for each in (manifest["config"], *manifest["layers"])}
        return found


def build_images(directory: Path) -> Layout:
    """Make the images. The same bytes come out on every machine with the same busybox."""
    require("umoci", "busybox")
    layout = Layout(directory / "layout")
    output_of("umoci", "init", "--layout", layout.path)
    ours = _ARCHITECTURES.get(platform.machine(), platform.machine())
    theirs = next(name for name in _ARCHITECTURES.values() if name != ours)
    for tag, architecture in (("app", ours), ("other", theirs)):
        _build(layout, directory, tag, architecture)
    _add_index(layout, {"app": ours, "other": theirs})
    return layout


def check_pulled(layout: Layout, tag: str, pulled: Path) -> None:
    """Every byte of an image that was pulled into an OCI layout is what was pushed."""
    files = {f"sha256:{path.name}": path for path in (pulled / "blobs" / "sha256").iterdir()}
    assert set(files) == layout.digests(tag)
    for digest, path in files.items():
        assert f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" == digest


def _build(layout: Layout, directory: Path, tag: str, architecture: str) -> None:
    image = ("--image", f"{layout.path}:{tag}")
    output_of("umoci", "new", *image)
    layers = [_busybox_layer(), *(_layer(tag, number, size) for number, size in enumerate(_LAYERS[tag]))]
    for number, layer in enumerate(layers):
        path = directory / f"{tag}-{number}.tar"
        path.write_bytes(layer)
        output_of("umoci", "raw", "add-layer", *image, "--no-history", path)
        path.unlink()
    output_of(
        "umoci", "config", *image, "--no-history", "--created", _CREATED, "--architecture", architecture,
        "--os", "linux", "--config.cmd", "/bin/echo", "--config.cmd", SAYS,
    )  # fmt: skip
    output_of("umoci", "gc", "--layout", layout.path)


def _busybox_layer() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(mode="w", fileobj=buffer, format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "bin/busybox", BUSYBOX.read_bytes(), 0o755)
        for applet in _APPLETS:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return buffer.getvalue()


def _layer(tag: str, number: int, size: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(mode="w", fileobj=buffer, format=tarfile.PAX_FORMAT) as tar:
        _add(tar, f"data/{tag}-{number}", seeded_bytes(size, seed=len(tag) * 100 + number), 0o644)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    tar.addfile(entry, io.BytesIO(data))


def _add_index(layout: Layout, architectures: dict[str, str]) -> None:
    manifests = [
        {
            "mediaType": OCI_MANIFEST,
            "digest": str(layout.digest(tag)),
            "size": layout.descriptor(tag)["size"],
            "platform": {"architecture": architecture, "os": "linux"},
        }
        for tag, architecture in architectures.items()
    ]
    data = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode()
    digest = Digest.of(data)
    (layout.path / "blobs" / "sha256" / digest.encoded).write_bytes(data)
    index = json.loads((layout.path / "index.json").read_text())
    index["manifests"].append(
        {
            "mediaType": OCI_INDEX,
            "digest": str(digest),
            "size": len(data),
            "annotations": {"org.opencontainers.image.ref.name": "multi"},
        }
    )
    (layout.path / "index.json").write_text(json.dumps(index))
