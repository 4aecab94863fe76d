"""An OCI image of a wanted size, made from the files of this machine.

Layers are gzipped tars of very different sizes, as real images have them. Where the machine has too few files,
seeded pseudo-random ones fill the rest.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import random
import stat
import sysconfig
import tarfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kraken.core.digest import Digest
from kraken.core.pieces import KIB, MIB

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SHARES = (0.44, 0.24, 0.14, 0.09, 0.05, 0.03, 0.009, 0.001)
"""How the size is spread over the layers."""

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"

_LARGEST_FILE = 32 * MIB
_FILLER_FILE = MIB
_TAR_BUFFER = 256 * KIB
"""At most so much of a layer is not yet compressed, and so not yet counted, while files are added."""
_WORKERS = 2


@dataclass(frozen=True, slots=True)
class Blob:
    """A file of the image. `diff_id` is the digest of a layer before compression, empty for the config."""

    path: Path
    digest: Digest
    size: int
    media_type: str
    diff_id: str = ""

    def descriptor(self) -> dict[str, object]:
        return {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}


@dataclass(frozen=True, slots=True)
class Image:
    """A whole image: its manifest, and the blobs that the manifest names, config first."""

    manifest: bytes
    digest: Digest
    blobs: tuple[Blob, ...]

    @property
    def size(self) -> int:
        """Bytes of all blobs together."""
        return sum(blob.size for blob in self.blobs)


def build_image(
    directory: Path, size: int, roots: Sequence[Path] | None = None, stop: threading.Event | None = None
) -> Image:
    """Write an image of at least `size` bytes.

    Args: directory, which takes its blobs; roots, whose files go into the layers; stop, which ends the work early when
    it is set: the image is then smaller than wanted.
    """
    files = _Files(machine_roots() if roots is None else roots, stop or threading.Event())
    sizes = [max(int(size * share), KIB) for share in SHARES]
    with ThreadPoolExecutor(_WORKERS) as threads:  # compression releases the interpreter lock
        building = [
            threads.submit(_build_layer, directory / f"layer-{number}.tar.gz", wanted, files, number)
            for number, wanted in enumerate(sizes)
        ]
        layers = [future.result() for future in building]
    config = _write_config(directory / "config.json", layers)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config.descriptor(),
            "layers": [layer.descriptor() for layer in layers],
        },
        indent=2,
    ).encode()
    return Image(manifest, Digest.of(manifest), (config, *layers))


def machine_roots() -> list[Path]:
    """Where the machine's files are: the environment's packages first, for they are the most varied."""
    return [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")] + [
        Path("/usr/share"),
        Path("/usr/lib"),
        Path("/usr/bin"),
    ]


class _Files:
    """The machine's files, each handed out once, to whichever layer asks first."""

    def __init__(self, roots: Sequence[Path], stop: threading.Event) -> None:
        self.stop = stop
        self._names = _walk(roots)
        self._lock = threading.Lock()

    def next(self) -> str | None:
        with self._lock:
            return next(self._names, None)


class _HashingFile(io.RawIOBase):
    """A file that knows the digest of what went through, and how much that was."""

    def __init__(self, out: io.BufferedWriter | gzip.GzipFile) -> None:
        self._out = out
        self.hash = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        view = memoryview(data)
        self.hash.update(view)
        self.size += view.nbytes
        self._out.write(view)
        return view.nbytes


def _build_layer(path: Path, size: int, files: _Files, seed: int) -> Blob:
    buffer = max(tarfile.RECORDSIZE, min(_TAR_BUFFER, size // 8))
    with path.open("wb") as file:
        packed = _HashingFile(file)
        # mtime=0 and no name: the same files give the same bytes.
        with gzip.GzipFile("", "wb", 1, packed, mtime=0) as zipped:
            plain = _HashingFile(zipped)
            with tarfile.open(mode="w|", fileobj=plain, format=tarfile.PAX_FORMAT, bufsize=buffer) as tar:
                _fill(tar, packed, size, files, seed)
    return Blob(
        path,
        Digest.parse(f"sha256:{packed.hash.hexdigest()}"),
        packed.size,
        LAYER_TYPE,
        diff_id=f"sha256:{plain.hash.hexdigest()}",
    )


def _fill(tar: tarfile.TarFile, packed: _HashingFile, size: int, files: _Files, seed: int) -> None:
    chance = random.Random(seed)
    filler = 0
    while packed.size < size and not files.stop.is_set():
        room = min(_LARGEST_FILE, max(size - packed.size, KIB) * 2)
        name = files.next()
        if name is None:
            name = f"/filler/{seed}-{filler}"
            content: bytes | None = chance.randbytes(min(_FILLER_FILE, room))
            filler += 1
        else:
            content = _content(name, room)
        if content is not None:
            entry = tarfile.TarInfo(name.lstrip("/"))
            entry.size = len(content)
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(content))


def _walk(roots: Sequence[Path]) -> Iterator[str]:
    seen: set[str] = set()
    for root in roots:
        for folder, subfolders, names in os.walk(root):
            subfolders.sort()
            if folder in seen:
                subfolders.clear()
                continue
            seen.add(folder)
            yield from (os.path.join(folder, name) for name in sorted(names))


def _content(name: str, largest: int) -> bytes | None:
    """The bytes of a regular file that may be read and is not too large; None for all others."""
    try:
        about = os.lstat(name)
        if not stat.S_ISREG(about.st_mode) or about.st_size > largest:
            return None
        with open(name, "rb") as file:
            return file.read()
    except OSError:
        return None


def _write_config(path: Path, layers: Sequence[Blob]) -> Blob:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    config = {
        "architecture": machine,
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }
    data = json.dumps(config, indent=2).encode()
    path.write_bytes(data)
    return Blob(path, Digest.of(data), len(data), CONFIG_TYPE)
