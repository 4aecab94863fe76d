"""Rules for every request: names, tags, digests, errors. `every_answer` has those that all answers are held to."""

from __future__ import annotations

from typing import Final

from tests.integration.conformance.language import (
    NAME_LENGTH,
    TAGS,
    UPLOADS,
    Requirement,
    blob,
    closing,
    delete,
    get,
    head,
    manifest,
    patch,
    post,
    put,
    referrers,
    requirement,
)
from tests.integration.conformance.samples import (
    IMAGE,
    IMAGE_512,
    LARGE,
    LAYER,
    LAYER_512,
    LAYER_DIGEST,
    NEVER_PUSHED,
    NEVER_PUSHED_512,
    SHA512,
    push,
    push_blob,
    push_blobs,
    put_manifest,
)

from kraken.core.digest import Digest

LARGE_512: Final = Digest.of(LARGE, SHA512)
LONGEST_NAME: Final = "<name>/" + "x" * (255 - NAME_LENGTH - 1)
TELLING_NAME: Final = "<name>/blobs/uploads/manifests/tags/list/referrers/v2"
BAD_DIGESTS: Final = (
    "sha256:abc",
    f"sha256:{'A' * 64}",
    f"sha256:{'a' * 65}",
    f"sha256:{'g' * 64}",
    f"sha512:{'a' * 64}",
    f"md5:{'a' * 32}",
    "sha256:",
    f":{'a' * 64}",
)
BAD_NAMES: Final = ("UPPER", "-a", "a-", "a..b", "a___b", "a._b", "a//b", "a/-b", "a/b.", "%C3%A4", "a%20b", "a:b")

GENERAL: Final[tuple[Requirement, ...]] = (
    requirement(
        "base",
        "GET /v2/ is 200 where nobody has to log in; so are HEAD, and the path without its slash",
        get("/v2/").gives(200),
        get("/v2").gives(200),
        head("/v2/").gives(200),
    ),
    # Names.
    requirement(
        "name-grammar",
        "A name is components of [a-z0-9], with '.', '_', '__' or any '-' between, and slashes between components",
        *(
            get(f"/v2/{name}/tags/list").fails(404, "NAME_UNKNOWN")
            for name in ("never-pushed", "0", "a.b", "a_b", "a__b", "a-b", "a---b", "a/b/c/d", "1.2.3/x_y/z__0")
        ),
    ),
    requirement(
        "name-invalid",
        "Any other name is 400 NAME_INVALID, whatever is asked",
        *(get(f"/v2/{name}/tags/list").fails(400, "NAME_INVALID") for name in BAD_NAMES),
        *(post(f"/v2/{name}/blobs/uploads/").fails(400, "NAME_INVALID") for name in BAD_NAMES),
        get(blob(LAYER_DIGEST, "UPPER")).fails(400, "NAME_INVALID"),
        get(manifest("latest", "UPPER")).fails(400, "NAME_INVALID"),
        put_manifest(IMAGE, "latest", "UPPER").fails(400, "NAME_INVALID"),
        delete(manifest("latest", "UPPER")).fails(400, "NAME_INVALID"),
        get(f"/v2/UPPER/referrers/{LAYER_DIGEST}").fails(400, "NAME_INVALID"),
    ),
    requirement(
        "name-length",
        "A name may have 255 characters and no more",
        push(IMAGE, "latest", repository=LONGEST_NAME),
        get(manifest("latest", LONGEST_NAME)).gives(200, IMAGE.manifest),
        get(f"/v2/{LONGEST_NAME}x/tags/list").fails(400, "NAME_INVALID"),
        post(f"/v2/{LONGEST_NAME}x/blobs/uploads/").fails(400, "NAME_INVALID"),
    ),
    requirement(
        "name-telling",
        "A name may have components that mean something elsewhere in a path",
        push(IMAGE, "latest", repository=TELLING_NAME),
        post(f"/v2/{TELLING_NAME}/blobs/uploads/").gives(202),
        patch("<location>", b"abc").gives(202, Range="0-2"),
        get("<location>").gives(204, Range="0-2"),
        delete("<location>").gives(204),
        get(manifest("latest", TELLING_NAME)).gives(200, IMAGE.manifest),
        get(blob(LAYER_DIGEST, TELLING_NAME)).gives(200, LAYER),
        get(f"/v2/{TELLING_NAME}/tags/list").gives(200, listing={"name": TELLING_NAME, "tags": ["latest"]}),
        get(f"/v2/{TELLING_NAME}/referrers/{IMAGE.digest}").gives(200),
        delete(blob(LAYER_DIGEST, TELLING_NAME)).gives(202),
        delete(manifest("latest", TELLING_NAME)).gives(202),
        get(f"/v2/{TELLING_NAME}/tags/list").gives(200, listing={"name": TELLING_NAME, "tags": []}),
        post(f"/v2/<name>/x/blobs/uploads/?mount={LAYER_DIGEST}&from={TELLING_NAME}").gives(202),
    ),
    *(
        requirement(
            f"name-of-{component}",
            f"{component!r} alone, or at either end of a name, is a name like any other",
            *(
                step
                for name in (f"{component}/<name>", f"<name>/{component}")
                for step in (
                    *push(IMAGE, component, repository=name),
                    get(manifest(component, name)).gives(200, IMAGE.manifest),
                    get(blob(LAYER_DIGEST, name)).gives(200, LAYER),
                    get(f"/v2/{name}/tags/list").gives(200, listing={"name": name, "tags": [component]}),
                )
            ),
        )
        for component in ("blobs", "manifests", "tags", "uploads", "list", "referrers")
    ),
    # Tags.
    requirement(
        "tag-grammar",
        "A tag is a letter, digit or _, and up to 127 more of these and . and -",
        push(IMAGE, "a", "_", "0", "V1.2-rc_3", "z" * 128),
        *(get(manifest(tag)).gives(200, IMAGE.manifest) for tag in ("a", "_", "0", "V1.2-rc_3", "z" * 128)),
        get(manifest("v1.2-rc_3")).fails(404, "MANIFEST_UNKNOWN"),
    ),
    requirement(
        "tag-invalid",
        "What is neither a tag nor a digest names no manifest, and none can be pushed there",
        push_blobs(IMAGE),
        *(
            step
            for tag in (".a", "-a", "z" * 129, "a%20b", "a+b", "%C3%A4", "a@b")
            for step in (
                put_manifest(IMAGE, tag).fails(400, "MANIFEST_INVALID"),
                get(manifest(tag)).fails((400, 404)),
                head(manifest(tag)).fails((400, 404)),
            )
        ),
    ),
    # Digests.
    requirement(
        "digest-malformed",
        "A malformed or unsupported digest is 400 DIGEST_INVALID on writes and referrers, and found nowhere",
        *(
            step
            for digest in BAD_DIGESTS
            for step in (
                get(blob(digest)).fails((400, 404)),
                head(blob(digest)).fails((400, 404)),
                get(manifest(digest)).fails((400, 404)),
                get(referrers(digest)).fails(400, "DIGEST_INVALID"),
                post(f"{UPLOADS}?digest={digest}", b"x").fails(400, "DIGEST_INVALID"),
                post(f"{UPLOADS}?mount={digest}&from=<other>").fails(400, "DIGEST_INVALID"),
                put_manifest(IMAGE, digest).fails(400, "DIGEST_INVALID"),
                delete(manifest(digest)).fails(400, "DIGEST_INVALID"),
                delete(blob(digest)).fails(400, "DIGEST_INVALID"),
            )
        ),
    ),
    requirement(
        "digest-unknown",
        "A well-formed digest of nothing that is here is 404, of either algorithm",
        *(
            step
            for digest in (NEVER_PUSHED, NEVER_PUSHED_512)
            for step in (
                get(blob(digest)).fails(404, "BLOB_UNKNOWN"),
                head(blob(digest)).fails(404),
                get(manifest(digest)).fails(404, "MANIFEST_UNKNOWN"),
                head(manifest(digest)).fails(404),
                delete(blob(digest)).fails(404, "BLOB_UNKNOWN"),
                delete(manifest(digest)).fails(404, "MANIFEST_UNKNOWN"),
            )
        ),
    ),
    requirement(
        "digest-percent-encoded",
        "The colon of a digest may be percent-encoded, in a path and in a query",
        post(f"{UPLOADS}?digest={str(LAYER_DIGEST).replace(':', '%3A')}", LAYER).gives(201),
        get(blob(str(LAYER_DIGEST).replace(":", "%3A"))).gives(200, LAYER),
        post("/v2/<other>/blobs/uploads/?mount=" + str(LAYER_DIGEST).replace(":", "%3a")).gives(201),
        post(UPLOADS).gives(202),
        put(closing(str(LAYER_DIGEST).replace(":", "%3A")), LAYER).gives(201),
    ),
    # The second algorithm.
    requirement(
        "sha512-blob",
        "A blob that was pushed by sha512 is found, headed, ranged, mounted and deleted by sha512",
        post(f"{UPLOADS}?digest={LAYER_512}", LAYER).gives(201, Docker_Content_Digest=str(LAYER_512)),
        head(blob(LAYER_512)).gives(200, Content_Length="1000", Docker_Content_Digest=str(LAYER_512)),
        get(blob(LAYER_512)).gives(200, LAYER, Docker_Content_Digest=str(LAYER_512)),
        get(blob(LAYER_512), Range="bytes=10-19").gives(206, LAYER[10:20], Docker_Content_Digest=str(LAYER_512)),
        post(f"/v2/<other>/blobs/uploads/?mount={LAYER_512}&from=<name>").gives(
            201, Docker_Content_Digest=str(LAYER_512)
        ),
        get(blob(LAYER_512, "<other>")).gives(200, LAYER),
        delete(blob(LAYER_512)).gives(202),
        get(blob(LAYER_512)).fails(404, "BLOB_UNKNOWN"),
        get(blob(LAYER_512, "<other>")).gives(200, LAYER),
    ),
    requirement(
        "sha512-at-the-end",
        "That a digest is a sha512 may be known only at the closing PUT, with or without bytes",
        post(UPLOADS).gives(202),
        patch("<location>", LARGE[:500_000], Content_Range="0-499999").gives(202),
        put(closing(LARGE_512), LARGE[500_000:], Content_Range="500000-699999").gives(201),
        get(blob(LARGE_512)).gives(200, LARGE),
        post(UPLOADS).gives(202),
        put(closing(LAYER_512), LAYER).gives(201),
        get(blob(LAYER_512)).gives(200, LAYER),
    ),
    requirement(
        "sha512-announced",
        "The algorithm may be announced when an upload begins, and an unknown one is refused then",
        post(f"{UPLOADS}?digest-algorithm=sha512").gives(202),
        patch("<location>", LAYER).gives(202, Range="0-999"),
        put(closing(LAYER_512)).gives(201, Docker_Content_Digest=str(LAYER_512)),
        post(f"{UPLOADS}?digest-algorithm=sha256").gives(202),
        put(closing(LAYER_DIGEST), LAYER).gives(201),
        post(f"{UPLOADS}?digest-algorithm=sha512&digest={LAYER_512}", LAYER).gives(201),
        post(f"{UPLOADS}?digest-algorithm=md5").fails(400, "DIGEST_INVALID"),
    ),
    requirement(
        "sha512-wrong",
        "A wrong sha512 is refused like a wrong sha256",
        post(f"{UPLOADS}?digest={NEVER_PUSHED_512}", LAYER).fails(400, "DIGEST_INVALID"),
        post(UPLOADS).gives(202),
        put(closing(NEVER_PUSHED_512), LAYER).fails(400, "DIGEST_INVALID"),
        get(blob(NEVER_PUSHED_512)).fails(404, "BLOB_UNKNOWN"),
    ),
    requirement(
        "sha512-manifest",
        "A manifest that was pushed by sha512 is found, tagged and deleted by sha512; its tag tells the sha512",
        push_blobs(IMAGE),
        put_manifest(IMAGE, f"{IMAGE_512}?tag=v1").gives(201, Docker_Content_Digest=str(IMAGE_512), OCI_Tag="v1"),
        get(manifest(IMAGE_512)).gives(200, IMAGE.manifest, Docker_Content_Digest=str(IMAGE_512)),
        get(manifest("v1")).gives(200, IMAGE.manifest, Docker_Content_Digest=str(IMAGE_512)),
        head(manifest("v1")).gives(200, Docker_Content_Digest=str(IMAGE_512), ETag=f'"{IMAGE_512}"'),
        delete(manifest(IMAGE_512)).gives(202),
        get(manifest(IMAGE_512)).fails(404, "MANIFEST_UNKNOWN"),
        get(manifest("v1")).fails(404, "MANIFEST_UNKNOWN"),
    ),
    requirement(
        "both-algorithms",
        "The same bytes may be pushed by both; each is then found by its own, and deleted on its own",
        push_blob(LAYER),
        get(blob(LAYER_512)).fails(404, "BLOB_UNKNOWN"),
        push_blob(LAYER, SHA512),
        delete(blob(LAYER_DIGEST)).gives(202),
        get(blob(LAYER_512)).gives(200, LAYER),
    ),
    # Methods and paths.
    requirement(
        "method-unsupported",
        "A method that a path does not know is 405 UNSUPPORTED",
        patch(manifest("latest"), b"x").fails(405, "UNSUPPORTED"),
        put(blob(LAYER_DIGEST), b"x").fails(405, "UNSUPPORTED"),
        post("/v2/").fails(405, "UNSUPPORTED"),
        delete(TAGS).fails(405, "UNSUPPORTED"),
        put(referrers(LAYER_DIGEST)).fails(405, "UNSUPPORTED"),
        post("/v2/_catalog").fails(405, "UNSUPPORTED"),
    ),
    requirement(
        "path-unknown",
        "A path that means nothing is a 404 with a body like any other error",
        get("/v2/nothing").fails(404, "NAME_UNKNOWN"),
        get("/v2/%0A").fails(404, "NAME_UNKNOWN"),
        get("/v2/a%0Ab/tags/list").fails(400, "NAME_INVALID"),
        get("/v2/<name>/blobs").fails(404, "NAME_UNKNOWN"),
        get("/v2/<name>/tags").fails(404, "NAME_UNKNOWN"),
        get("/v2/<name>/referrers").fails(404, "NAME_UNKNOWN"),
    ),
)
