"""Pushes of manifests: which are taken, as they are; which are refused, and why."""

from __future__ import annotations

import json
from typing import Final

from tests.helpers.registry import Image, an_image, an_index, described
from tests.integration.conformance.language import (
    TAGS,
    Requirement,
    get,
    head,
    manifest,
    put,
    referrers,
    requirement,
)
from tests.integration.conformance.samples import (
    ARTIFACT,
    ARTIFACT_WITHOUT_A_LIST,
    ARTIFACT_WITHOUT_LAYERS,
    CONFIG_TYPE,
    DOCKER_IMAGE,
    DOCKER_INDEX,
    EMPTY_INDEX,
    EMPTY_JSON,
    IMAGE,
    IMAGE_512,
    INDEX,
    INLINE,
    LARGEST,
    NESTED,
    NEVER_PUSHED,
    OTHER_IMAGE,
    SBOM,
    SHA512,
    TOO_LARGE,
    artifact,
    document,
    foreign,
    push,
    push_blob,
    push_blobs,
    put_manifest,
    subject_of,
)

from kraken.core.digest import Digest
from kraken.oci.manifests import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

CONFIG: Final = IMAGE.blobs[0]
WITHOUT_MEDIA_TYPE: Final = document(
    OCI_MANIFEST, [CONFIG], mediaType=None, config=described(CONFIG, CONFIG_TYPE), layers=[]
)

KINDS: Final[tuple[tuple[str, Image, tuple[Image, ...]], ...]] = (
    # What it is, the manifest, and the manifests that must be there before it.
    ("an OCI image", IMAGE, ()),
    ("an OCI index", INDEX, (IMAGE, OTHER_IMAGE)),
    ("an index of an index", NESTED, (IMAGE, OTHER_IMAGE, INDEX)),
    ("an empty index", EMPTY_INDEX, ()),
    ("an index without a list", document(OCI_INDEX), ()),
    ("an index with an artifactType", document(OCI_INDEX, manifests=[], artifactType=SBOM), ()),
    ("an artifact", ARTIFACT, ()),
    ("an artifact with an empty list of layers", ARTIFACT_WITHOUT_LAYERS, ()),
    ("an artifact without a list of layers", ARTIFACT_WITHOUT_A_LIST, ()),
    ("inline data", INLINE, ()),
    ("a Docker schema 2 image", DOCKER_IMAGE, ()),
    ("a Docker manifest list", DOCKER_INDEX, (DOCKER_IMAGE,)),
    ("a Docker list of OCI images", document(DOCKER_INDEX.media_type, manifests=[subject_of(IMAGE)]), (IMAGE,)),
    ("an image without mediaType", WITHOUT_MEDIA_TYPE, ()),
)  # fmt: skip

SCHEMA_1: Final = json.dumps({"schemaVersion": 1, "name": "a", "tag": "b", "fsLayers": [], "history": []}).encode()
SIGNATURE_OF_IMAGE: Final = an_image(b"signature", subject=IMAGE.digest)
ABOUT_NOTHING: Final = an_image(b"about something absent", subject=NEVER_PUSHED)
INDEX_ABOUT: Final = document(OCI_INDEX, manifests=[], subject=subject_of(IMAGE))
INDEX_ABOUT_512: Final = document(OCI_INDEX, manifests=[], subject=subject_of(IMAGE, SHA512))
MISSING: Final = an_image(b"missing one", b"missing two")
TEN_TAGS: Final = tuple(f"v{number}" for number in range(10))

FALLBACK: Final = f"sha256-{IMAGE.digest.encoded}"


def _tagged(image: Image, *tags: str) -> str:
    return f"{image.digest}?{'&'.join(f'tag={tag}' for tag in tags)}"


PUSHING_MANIFESTS: Final[tuple[Requirement, ...]] = (
    *(
        requirement(
            f"manifest-kind-{kind.replace(' ', '-')}",
            f"{kind.capitalize()} is taken by tag and by digest, and given back byte for byte",
            *(push(child) for child in children),
            push_blobs(image),
            put_manifest(image, "latest").gives(
                201, Location=manifest(image.digest), Docker_Content_Digest=str(image.digest), OCI_Subject=None
            ),
            put_manifest(image, image.digest).gives(201, Location=manifest(image.digest), OCI_Tag=None),
            get(manifest("latest")).gives(200, image.manifest, Content_Type=image.media_type),
            get(manifest(image.digest)).gives(200, image.manifest, Content_Type=image.media_type),
        )
        for kind, image, children in KINDS
    ),
    requirement(
        "manifest-stream",
        "A manifest may come in the chunked coding",
        push_blobs(IMAGE),
        put(manifest("latest"), (IMAGE.manifest[:10], IMAGE.manifest[10:]), Content_Type=OCI_MANIFEST).gives(201),
        get(manifest("latest")).gives(200, IMAGE.manifest),
    ),
    requirement(
        "manifest-again",
        "The same manifest may be pushed again",
        push(IMAGE, "latest", "latest"),
        push(IMAGE),
    ),
    requirement(
        "manifest-type",
        "The type is that of Content-Type without its parameters; without one, the body's",
        push_blobs(IMAGE),
        put(manifest("a"), IMAGE.manifest, Content_Type=f"{OCI_MANIFEST}; charset=utf-8").gives(201),
        get(manifest("a")).gives(200, IMAGE.manifest, Content_Type=OCI_MANIFEST),
        put(manifest("b"), IMAGE.manifest).gives(201),
        head(manifest("b")).gives(200, Content_Type=OCI_MANIFEST),
    ),
    requirement(
        "manifest-type-differs",
        "A Content-Type that is not the body's mediaType is 400",
        push_blobs(IMAGE),
        put(manifest("a"), IMAGE.manifest, Content_Type=DOCKER_MANIFEST).fails(400, "MANIFEST_INVALID"),
        put(manifest("a"), IMAGE.manifest, Content_Type=OCI_INDEX).fails(400, "MANIFEST_INVALID"),
        get(manifest("a")).fails(404, "MANIFEST_UNKNOWN"),
    ),
    requirement(
        "manifest-invalid",
        "What is no manifest of a known type is 400 MANIFEST_INVALID",
        push_blobs(IMAGE),
        *(
            put(manifest("a"), body, Content_Type=content_type).fails(400, "MANIFEST_INVALID")
            for body, content_type in (
                (b"", OCI_MANIFEST),
                (b"{}", OCI_MANIFEST),
                (b"null", OCI_MANIFEST),
                (b"\xff\xfe", OCI_MANIFEST),
                (b"[" * 100_000, OCI_MANIFEST),
                *(
                    (IMAGE.manifest.replace(b'"schemaVersion": 2', b'"schemaVersion": %d' % version), OCI_MANIFEST)
                    for version in (0, 1, 3)
                ),
                (IMAGE.manifest.replace(str(IMAGE.digest.algorithm.value).encode(), b"md5"), OCI_MANIFEST),
                (b'{"schemaVersion":2}', "text/plain"),
                (b'{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}', OCI_MANIFEST),
                (b'{"schemaVersion":2,"layers":[],"manifests":[]}', OCI_INDEX),
            )
        ),
    ),
    requirement(
        "manifest-schema-1",
        "Docker's schema 1 is refused",
        *(
            put(manifest("a"), SCHEMA_1, Content_Type=f"application/vnd.docker.distribution.manifest.v1+{form}").fails(
                400, "MANIFEST_INVALID"
            )
            for form in ("json", "prettyjws")
        ),
        put(manifest("a"), SCHEMA_1, Content_Type=DOCKER_MANIFEST).fails(400, "MANIFEST_INVALID"),
    ),
    requirement(
        "manifest-largest",
        "A manifest of 4 MiB is taken",
        push(LARGEST, "large"),
        get(manifest("large")).gives(200, LARGEST.manifest, Content_Length=str(4 * 1024 * 1024)),
    ),
    requirement(
        "manifest-too-large",
        "One byte more is 413, however it is sent",
        push_blobs(TOO_LARGE),
        put_manifest(TOO_LARGE, "large").fails(413, "MANIFEST_INVALID"),
        put(manifest("large"), (TOO_LARGE.manifest,), Content_Type=OCI_MANIFEST).fails(413, "MANIFEST_INVALID"),
        get(manifest("large")).fails(404, "MANIFEST_UNKNOWN"),
    ),
    requirement(
        "manifest-larger-by-setting",
        "A larger one is taken where the setting allows it",
        push(TOO_LARGE, "large"),
        get(manifest("large")).gives(200, TOO_LARGE.manifest),
        lenient=True,
    ),
    requirement(
        "manifest-wrong-digest",
        "A manifest that is pushed by a digest that it does not have is 400; a space at its end is enough",
        push_blobs(IMAGE),
        put(manifest(IMAGE.digest), IMAGE.manifest + b" ", Content_Type=OCI_MANIFEST).fails(400, "DIGEST_INVALID"),
        put(manifest(IMAGE_512), IMAGE.manifest + b" ", Content_Type=OCI_MANIFEST).fails(400, "DIGEST_INVALID"),
        get(manifest(IMAGE.digest)).fails(404, "MANIFEST_UNKNOWN"),
    ),
    # What it names.
    requirement(
        "missing-blobs",
        "Missing blobs are 400 MANIFEST_BLOB_UNKNOWN, one for each, which it names",
        put_manifest(MISSING, "a").fails(
            400, *["MANIFEST_BLOB_UNKNOWN"] * 3, named=[Digest.of(data) for data in MISSING.blobs]
        ),
        push_blob(MISSING.blobs[1]),
        put_manifest(MISSING, MISSING.digest).fails(
            400, *["MANIFEST_BLOB_UNKNOWN"] * 2, named=[Digest.of(MISSING.blobs[0]), Digest.of(MISSING.blobs[2])]
        ),
        get(manifest("a")).fails(404, "MANIFEST_UNKNOWN"),
        push(MISSING, "a"),
    ),
    requirement(
        "missing-elsewhere",
        "A blob of another repository is missing in this one",
        push_blobs(IMAGE, "<other>"),
        put_manifest(IMAGE, "a").fails(
            400, *["MANIFEST_BLOB_UNKNOWN"] * 3, named=[Digest.of(data) for data in IMAGE.blobs]
        ),
    ),
    requirement(
        "missing-children",
        "So are missing manifests of an index; those of another repository do not count",
        push(OTHER_IMAGE),
        push(IMAGE, repository="<other>"),
        put_manifest(INDEX, "multi").fails(400, "MANIFEST_BLOB_UNKNOWN", named=[IMAGE.digest]),
        get(manifest("multi")).fails(404, "MANIFEST_UNKNOWN"),
        push(IMAGE),
        put_manifest(INDEX, "multi").gives(201),
    ),
    requirement(
        "sparse-by-setting",
        "An index whose manifests are missing is taken where the setting allows it",
        put_manifest(an_index(an_image(b"never pushed")), "sparse").gives(201),
        get(manifest("sparse")).gives(200, an_index(an_image(b"never pushed")).manifest),
        lenient=True,
    ),
    *(
        requirement(
            f"foreign-{layer_type.rpartition('.')[2]}-{number}",
            f"Layers of type {layer_type} are not uploaded, and not asked for",
            push(foreign(layer_type), "windows"),
            get(manifest("windows")).gives(200, foreign(layer_type).manifest),
        )
        for number, layer_type in enumerate(
            (
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                "application/vnd.docker.image.rootfs.foreign.diff.tar",
                "application/vnd.oci.image.layer.nondistributable.v1.tar",
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
            )
        )
    ),
    # What it is about.
    requirement(
        "subject",
        "The answer to a manifest or index with a subject has OCI-Subject, by tag and by digest",
        push(IMAGE),
        *(
            step
            for about, digest in (
                (SIGNATURE_OF_IMAGE, IMAGE.digest),
                (INDEX_ABOUT, IMAGE.digest),
                (INDEX_ABOUT_512, IMAGE_512),
            )
            for step in (
                *push_blobs(about),
                put_manifest(about, "about").gives(201, OCI_Subject=str(digest)),
                put_manifest(about, about.digest).gives(201, OCI_Subject=str(digest)),
            )
        ),
    ),
    requirement(
        "subject-absent",
        "A missing subject is accepted, and told in the same way",
        push_blobs(ABOUT_NOTHING),
        put_manifest(ABOUT_NOTHING, ABOUT_NOTHING.digest).gives(201, OCI_Subject=str(NEVER_PUSHED)),
        put_manifest(ABOUT_NOTHING, "about").gives(201, OCI_Subject=str(NEVER_PUSHED)),
        get(referrers(NEVER_PUSHED)).gives(200),
    ),
    requirement(
        "subject-no-fallback-tag",
        "No fallback tag appears",
        push(IMAGE, "latest"),
        push(SIGNATURE_OF_IMAGE),
        get(manifest(FALLBACK)).fails(404, "MANIFEST_UNKNOWN"),
        get(TAGS).gives(200, listing={"name": "<name>", "tags": ["latest"]}),
    ),
    # Several tags at once.
    requirement(
        "tags-at-once",
        "A PUT by digest may set at least 10 tags; OCI-Tag lists those that it set",
        push_blobs(IMAGE),
        put_manifest(IMAGE, _tagged(IMAGE, *TEN_TAGS)).gives(
            201, OCI_Tag=", ".join(TEN_TAGS), Location=manifest(IMAGE.digest)
        ),
        *(get(manifest(tag)).gives(200, IMAGE.manifest) for tag in TEN_TAGS),
        get(TAGS).gives(200, listing={"name": "<name>", "tags": list(TEN_TAGS)}),
        put_manifest(IMAGE, _tagged(IMAGE, "x", "x")).gives(201, OCI_Tag="x"),
    ),
    requirement(
        "tags-at-once-move",
        "They may move tags, and set none that is not asked for",
        push(IMAGE, "a", "b"),
        push_blobs(OTHER_IMAGE),
        put_manifest(OTHER_IMAGE, _tagged(OTHER_IMAGE, "b", "c")).gives(201, OCI_Tag="b, c"),
        get(manifest("a")).gives(200, IMAGE.manifest),
        get(manifest("b")).gives(200, OTHER_IMAGE.manifest),
        get(manifest("c")).gives(200, OTHER_IMAGE.manifest),
    ),
    requirement(
        "tags-at-once-subject",
        "OCI-Subject is told there, too",
        push_blobs(SIGNATURE_OF_IMAGE),
        put_manifest(SIGNATURE_OF_IMAGE, _tagged(SIGNATURE_OF_IMAGE, "signature")).gives(
            201, OCI_Tag="signature", OCI_Subject=str(IMAGE.digest)
        ),
    ),
    requirement(
        "tags-at-once-too-many",
        "More tags than are accepted are 414, and none is set",
        push_blobs(IMAGE),
        put_manifest(IMAGE, _tagged(IMAGE, *(f"v{number}" for number in range(101)))).fails(414, "MANIFEST_INVALID"),
        put_manifest(IMAGE, _tagged(IMAGE, *(f"v{number}" for number in range(100)))).gives(201),
    ),
    requirement(
        "tags-at-once-invalid",
        "One that is no tag is 400, and none is set",
        push_blobs(IMAGE),
        put_manifest(IMAGE, _tagged(IMAGE, "good", ".bad")).fails(400, "MANIFEST_INVALID"),
        get(manifest("good")).fails(404, "MANIFEST_UNKNOWN"),
        get(manifest(IMAGE.digest)).fails(404, "MANIFEST_UNKNOWN"),
    ),
    requirement(
        "artifact-annotations",
        "Annotations and an own type of an artifact are kept as they are",
        push(artifact(b"x", SBOM, annotations={"org.example": "é", "": ""}), "sbom"),
        push_blob(EMPTY_JSON),
        get(manifest("sbom")).gives(200, artifact(b"x", SBOM, annotations={"org.example": "é", "": ""}).manifest),
    ),
)
