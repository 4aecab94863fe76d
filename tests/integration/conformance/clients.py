"""What real clients send, in their order and with their headers, as traced on the wire."""

from __future__ import annotations

from typing import Final

from tests.integration.conformance.language import (
    LOCATION,
    UPLOADS,
    Requirement,
    blob,
    closing,
    get,
    head,
    manifest,
    patch,
    post,
    put,
    requirement,
)
from tests.integration.conformance.samples import DOCKER_IMAGE, IMAGE, LAYER, LAYER_DIGEST, push, put_manifest

from kraken.core.digest import Digest
from kraken.oci.manifests import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

CONFIG: Final = DOCKER_IMAGE.blobs[0]
CONFIG_DIGEST: Final = Digest.of(CONFIG)
SCHEMA_1: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"
DOCKER_ACCEPTS: Final = (DOCKER_MANIFEST, DOCKER_LIST, OCI_INDEX, OCI_MANIFEST, SCHEMA_1, "application/json")
SKOPEO_ACCEPTS: Final = (OCI_MANIFEST, DOCKER_MANIFEST, SCHEMA_1, DOCKER_LIST, OCI_INDEX)
CTR_ACCEPTS: Final = ", ".join((DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX, "*/*"))

CLIENTS: Final[tuple[Requirement, ...]] = (
    requirement(
        "docker-pull",
        "docker: GET /v2/, HEAD of the tag, GET of the digest, config and layers",
        push(DOCKER_IMAGE, "latest"),
        get("/v2/", User_Agent="docker/20.10.24").gives(200),
        head(manifest("latest"), Accept=DOCKER_ACCEPTS).gives(
            200,
            Content_Type=DOCKER_MANIFEST,
            Content_Length=str(len(DOCKER_IMAGE.manifest)),
            Docker_Content_Digest=str(DOCKER_IMAGE.digest),
        ),
        get(manifest(DOCKER_IMAGE.digest), Accept=DOCKER_ACCEPTS).gives(200, DOCKER_IMAGE.manifest),
        get(blob(CONFIG_DIGEST), Accept_Encoding="identity").gives(200, CONFIG),
        get(blob(LAYER_DIGEST), Accept_Encoding="identity").gives(200, LAYER),
        get(blob(LAYER_DIGEST), Accept_Encoding="identity", Range="bytes=500-").gives(206, LAYER[500:]),
    ),
    requirement(
        "skopeo-pull",
        "skopeo: GET /v2/, GET of the tag without a HEAD, layers, config",
        push(IMAGE, "latest"),
        get("/v2/", Docker_Distribution_Api_Version="registry/2.0").gives(200),
        get(manifest("latest"), Accept=SKOPEO_ACCEPTS).gives(200, IMAGE.manifest, Content_Type=OCI_MANIFEST),
        get(blob(LAYER_DIGEST)).gives(200, LAYER),
        get(blob(Digest.of(IMAGE.blobs[0]))).gives(200, IMAGE.blobs[0]),
    ),
    requirement(
        "ctr-pull",
        "ctr: HEAD of the tag with one comma list, GET of the digest, config and layers; it never asks /v2/",
        push(IMAGE, "latest"),
        head(manifest("latest"), Accept=CTR_ACCEPTS).gives(200, Docker_Content_Digest=str(IMAGE.digest)),
        get(manifest(IMAGE.digest), Accept=f"{OCI_MANIFEST}, */*").gives(200, IMAGE.manifest),
        get(blob(Digest.of(IMAGE.blobs[0])), Accept="application/vnd.oci.image.config.v1+json, */*").gives(200),
        get(blob(LAYER_DIGEST), Accept="*/*", Range="bytes=0-").gives(206, LAYER),
        get(blob(LAYER_DIGEST), Accept="*/*", Range="bytes=300-").gives(206, LAYER[300:]),
    ),
    requirement(
        "docker-push",
        "docker: HEAD or mount of each layer, else POST, PATCH in the chunked coding, an empty PUT, and HEAD again",
        get("/v2/").gives(200),
        head(blob(LAYER_DIGEST)).fails(404),
        post(f"{UPLOADS}?from=<other>&mount={LAYER_DIGEST}").gives(202),
        patch(LOCATION, (LAYER[:700], LAYER[700:])).gives(202),
        put(closing(str(LAYER_DIGEST).replace(":", "%3A"))).gives(201),
        head(blob(LAYER_DIGEST)).gives(200, Content_Length=str(len(LAYER))),
        post(UPLOADS).gives(202),
        patch(LOCATION, (CONFIG,)).gives(202),
        put(closing(str(CONFIG_DIGEST).replace(":", "%3A"))).gives(201),
        head(blob(CONFIG_DIGEST)).gives(200),
        put_manifest(DOCKER_IMAGE, "latest").gives(201, Docker_Content_Digest=str(DOCKER_IMAGE.digest)),
    ),
    requirement(
        "skopeo-push",
        "skopeo: HEAD of each layer, here and elsewhere, POST, PATCH with a Content-Length alone, an empty PUT",
        get("/v2/").gives(200),
        head(blob(LAYER_DIGEST)).fails(404),
        head(blob(LAYER_DIGEST, "<other>")).fails(404),
        *(
            step
            for data in reversed(IMAGE.blobs)
            for step in (
                post(UPLOADS).gives(202),
                patch(LOCATION, data, Content_Type="application/octet-stream").gives(202),
                put(closing(Digest.of(data)), Content_Type="application/octet-stream").gives(201),
            )
        ),
        put_manifest(IMAGE, "latest").gives(201),
    ),
    requirement(
        "ctr-push",
        "ctr: HEAD of all blobs, POST of all, PUT with the whole body, HEAD and PUT of the tag",
        *(head(blob(Digest.of(data))).fails(404) for data in IMAGE.blobs),
        *(
            step
            for data in IMAGE.blobs
            for step in (
                post(f"{UPLOADS}?mount={Digest.of(data)}&from=<other>").gives(202),
                put(closing(Digest.of(data)), data, Content_Type="application/octet-stream").gives(201),
            )
        ),
        head(manifest("latest"), Accept=f"{OCI_MANIFEST}, */*").fails(404),
        put_manifest(IMAGE, "latest").gives(201),
    ),
)
