"""Blobs and manifests that the rows of the table are about, and the steps that push them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from tests.helpers.pulling import seeded_bytes
from tests.helpers.registry import Image, an_image, an_index, described
from tests.integration.conformance.language import UPLOADS, Step, manifest, post, put

from kraken.core.digest import Algorithm, Digest
from kraken.oci.manifests import CLIENT_MANIFEST_BYTES, DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

SHA512: Final = Algorithm.SHA512

LAYER: Final = seeded_bytes(1000, seed=1)
LARGE: Final = seeded_bytes(700_000, seed=2)  # more than is taken into memory whole, in several blocks
LAYER_DIGEST: Final = Digest.of(LAYER)
LAYER_512: Final = Digest.of(LAYER, SHA512)
LARGE_DIGEST: Final = Digest.of(LARGE)
EMPTY_DIGEST: Final = Digest.of(b"")
EMPTY_512: Final = Digest.of(b"", SHA512)

NEVER_PUSHED: Final = Digest.of(b"this was never pushed")
NEVER_PUSHED_512: Final = Digest.of(b"this was never pushed", SHA512)

IMAGE: Final = an_image(LAYER, b"")
OTHER_IMAGE: Final = an_image(b"another layer")
IMAGE_512: Final = Digest.of(IMAGE.manifest, SHA512)
INDEX: Final = an_index(IMAGE, OTHER_IMAGE)
NESTED: Final = an_index(INDEX, IMAGE)

CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
EMPTY_JSON: Final = b"{}"
SBOM: Final = "application/spdx+json"
SIGNATURE: Final = "application/vnd.example.signature"


def document(media_type: str, blobs: Sequence[bytes] = (), **fields: Any) -> Image:
    """A manifest of these fields, `schemaVersion` and `mediaType` apart; in `None` it lacks what it may lack."""
    body = {"schemaVersion": 2, "mediaType": media_type, **fields}
    present = {name: value for name, value in body.items() if value is not None}
    return Image(json.dumps(present).encode(), media_type, tuple(blobs))


def subject_of(image: Image, algorithm: Algorithm = Algorithm.SHA256) -> dict[str, object]:
    """A descriptor by which a manifest says that it is about an image."""
    digest = Digest.of(image.manifest, algorithm)
    return {"mediaType": image.media_type, "digest": str(digest), "size": len(image.manifest)}


def artifact(payload: bytes, artifact_type: str | None = SBOM, **fields: Any) -> Image:
    """An artifact as oras packs it: an empty config, and its payload as the only layer."""
    return document(
        OCI_MANIFEST,
        [EMPTY_JSON, payload],
        artifactType=artifact_type,
        config=described(EMPTY_JSON, EMPTY_TYPE),
        layers=[described(payload, "text/plain")],
        **fields,
    )


DOCKER_IMAGE: Final = document(
    DOCKER_MANIFEST,
    [b'{"os":"linux"}', LAYER],
    config=described(b'{"os":"linux"}', "application/vnd.docker.container.image.v1+json"),
    layers=[described(LAYER, "application/vnd.docker.image.rootfs.diff.tar.gzip")],
)
DOCKER_INDEX: Final = document(
    DOCKER_LIST,
    manifests=[
        described(DOCKER_IMAGE.manifest, DOCKER_MANIFEST) | {"platform": {"os": "linux", "architecture": "amd64"}}
    ],
)
ARTIFACT: Final = artifact(b"an sbom")
ARTIFACT_WITHOUT_LAYERS: Final = document(
    OCI_MANIFEST, [EMPTY_JSON], artifactType=SBOM, config=described(EMPTY_JSON, EMPTY_TYPE), layers=[]
)
ARTIFACT_WITHOUT_A_LIST: Final = document(
    OCI_MANIFEST, [EMPTY_JSON], artifactType=SBOM, config=described(EMPTY_JSON, EMPTY_TYPE)
)
INLINE: Final = document(
    OCI_MANIFEST,
    [EMPTY_JSON],
    artifactType=SBOM,
    config=described(EMPTY_JSON, EMPTY_TYPE) | {"data": "e30="},
    layers=[described(EMPTY_JSON, EMPTY_TYPE) | {"data": "e30="}],
)
EMPTY_INDEX: Final = document(OCI_INDEX, manifests=[])
LARGEST: Final = Image(IMAGE.manifest.ljust(CLIENT_MANIFEST_BYTES), IMAGE.media_type, IMAGE.blobs)
TOO_LARGE: Final = Image(LARGEST.manifest + b" ", IMAGE.media_type, IMAGE.blobs)


def foreign(layer_type: str) -> Image:
    """An image whose only layer must not be distributed, and so is never uploaded."""
    config = b'{"os":"windows"}'
    layer = described(b"never uploaded", layer_type) | {"urls": ["https://example.com/layer"]}
    return document(OCI_MANIFEST, [config], config=described(config, CONFIG_TYPE), layers=[layer])


def push_blob(data: bytes, algorithm: Algorithm = Algorithm.SHA256, repository: str = "<name>") -> Step:
    """A blob, by one POST."""
    uploads = UPLOADS.replace("<name>", repository)
    return post(f"{uploads}?digest={Digest.of(data, algorithm)}", data).gives(201)


def push_blobs(image: Image, repository: str = "<name>") -> list[Step]:
    """All blobs of an image."""
    return [push_blob(data, repository=repository) for data in image.blobs]


def put_manifest(image: Image, reference: object, repository: str = "<name>") -> Step:
    """The manifest, to be refused or taken."""
    return put(manifest(reference, repository), image.manifest, Content_Type=image.media_type)


def push(image: Image, *references: object, repository: str = "<name>") -> list[Step]:
    """An image whole; without a tag by its digest."""
    named: Iterable[object] = references or (image.digest,)
    return [
        *push_blobs(image, repository),
        *(put_manifest(image, reference, repository).gives(201) for reference in named),
    ]
