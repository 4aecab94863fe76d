from __future__ import annotations

import gzip
import json
import tarfile
import threading
from hashlib import sha256
from pathlib import Path

from kraken.cli.demo.image import SHARES, build_image
from kraken.core.digest import Digest
from kraken.core.pieces import MIB


def test_the_image_has_the_wanted_size_in_layers_of_very_different_sizes(tmp_path: Path) -> None:
    image = build_image(tmp_path, 4 * MIB, roots=[])

    sizes = [blob.size for blob in image.blobs[1:]]
    assert image.size >= 4 * MIB
    assert len(sizes) == len(SHARES)
    assert max(sizes) > 20 * min(sizes)


def test_every_digest_is_right_before_and_after_compression(tmp_path: Path) -> None:
    image = build_image(tmp_path, MIB, roots=[])

    manifest = json.loads(image.manifest)
    config, *layers = image.blobs
    diff_ids = json.loads(config.path.read_bytes())["rootfs"]["diff_ids"]
    assert [described["digest"] for described in manifest["layers"]] == [str(layer.digest) for layer in layers]
    assert [Digest.of(blob.path.read_bytes()) for blob in image.blobs] == [blob.digest for blob in image.blobs]
    unpacked = [gzip.decompress(layer.path.read_bytes()) for layer in layers]
    assert diff_ids == [f"sha256:{sha256(data).hexdigest()}" for data in unpacked]


def test_a_build_that_is_told_to_stop_stops(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()

    image = build_image(tmp_path, 1000 * MIB, roots=[], stop=stop)

    assert image.size < MIB


def test_files_of_the_machine_come_first_and_filler_only_when_they_end(tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    root.mkdir()
    out.mkdir()
    (root / "a.txt").write_bytes(b"hello")
    (root / "link").symlink_to("a.txt")

    image = build_image(out, MIB, roots=[root])

    names: list[str] = []
    for layer in image.blobs[1:]:
        with tarfile.open(layer.path) as tar:
            names += tar.getnames()
    assert names.count(str(root / "a.txt").lstrip("/")) == 1
    assert all(name.startswith("filler/") for name in names if not name.endswith("a.txt"))
