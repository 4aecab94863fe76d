"""Pulls: blobs whole and in ranges, manifests by tag and by digest."""

from __future__ import annotations

from typing import Final

from tests.integration.conformance.language import (
    Requirement,
    blob,
    get,
    head,
    manifest,
    requirement,
)
from tests.integration.conformance.samples import (
    DOCKER_IMAGE,
    EMPTY_DIGEST,
    IMAGE,
    INDEX,
    LARGE,
    LARGE_DIGEST,
    LAYER,
    LAYER_DIGEST,
    NEVER_PUSHED,
    OTHER_IMAGE,
    push,
    push_blob,
)

from kraken.oci.manifests import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

ETAG: Final = f'"{LAYER_DIGEST}"'
SIZE: Final = len(LARGE)

PARTS: Final = (
    # What is asked for, and the first and last byte of what is given.
    ("0-0", 0, 0),
    ("0-", 0, SIZE - 1),
    ("5-9", 5, 9),
    ("262143-524289", 262_143, 524_289),
    ("699999-", SIZE - 1, SIZE - 1),
    ("-1", SIZE - 1, SIZE - 1),
    ("-300000", SIZE - 300_000, SIZE - 1),
    ("-99999999", 0, SIZE - 1),
    ("100-99999999", 100, SIZE - 1),
    (f"0-{SIZE - 1}", 0, SIZE - 1),
    (f"0-{10**18}", 0, SIZE - 1),
)
NO_PART: Final = (f"{SIZE}-", f"{SIZE}-{SIZE + 5}", "99999999-", "500-0", "-0", "-", "a-b", "--5", "")
NOT_A_RANGE: Final = ("bytes=0-4,10-14", "lines=0-4", "nonsense", "bytes 0-4")

PULLING: Final[tuple[Requirement, ...]] = (
    requirement(
        "blob-get",
        "GET of a blob is 200 with its bytes, their length and digest",
        push_blob(LARGE),
        get(blob(LARGE_DIGEST)).gives(
            200, LARGE, Content_Length=str(SIZE), Docker_Content_Digest=str(LARGE_DIGEST), Transfer_Encoding=None
        ),
    ),
    requirement(
        "blob-head",
        "HEAD of a blob is 200 with the same headers",
        push_blob(LARGE),
        head(blob(LARGE_DIGEST)).gives(
            200, b"", Content_Length=str(SIZE), Docker_Content_Digest=str(LARGE_DIGEST), Accept_Ranges="bytes"
        ),
    ),
    requirement(
        "blob-empty",
        "The empty blob is a blob of length 0",
        push_blob(b""),
        head(blob(EMPTY_DIGEST)).gives(200, b"", Content_Length="0", Docker_Content_Digest=str(EMPTY_DIGEST)),
        get(blob(EMPTY_DIGEST)).gives(200, b"", Content_Length="0"),
        get(blob(EMPTY_DIGEST), Range="bytes=0-").fails(416, Content_Range="bytes */0"),
        get(blob(EMPTY_DIGEST), Range="bytes=-1").fails(416, Content_Range="bytes */0"),
    ),
    requirement(
        "blob-elsewhere",
        "A blob is found only in the repositories that have it",
        push_blob(LAYER, repository="<other>"),
        get(blob(LAYER_DIGEST)).fails(404, "BLOB_UNKNOWN"),
        head(blob(LAYER_DIGEST)).fails(404),
    ),
    *(
        requirement(
            f"range-{asked}",
            f"bytes={asked} of {SIZE} bytes is 206 with bytes {first} to {last}",
            push_blob(LARGE),
            get(blob(LARGE_DIGEST), Range=f"bytes={asked}").gives(
                206,
                LARGE[first : last + 1],
                Content_Length=str(last + 1 - first),
                Content_Range=f"bytes {first}-{last}/{SIZE}",
                Accept_Ranges="bytes",
            ),
        )
        for asked, first, last in PARTS
    ),
    *(
        requirement(
            f"range-none-{asked}",
            f"bytes={asked} of {SIZE} bytes is 416, which tells the length",
            push_blob(LARGE),
            get(blob(LARGE_DIGEST), Range=f"bytes={asked}").fails(
                416, Content_Range=f"bytes */{SIZE}", Accept_Ranges="bytes"
            ),
        )
        for asked in NO_PART
    ),
    requirement(
        "range-ignored",
        "Several ranges, another unit or nonsense are answered with the whole blob; so is any range of a HEAD",
        push_blob(LARGE),
        *(get(blob(LARGE_DIGEST), Range=asked).gives(200, LARGE, Content_Range=None) for asked in NOT_A_RANGE),
        head(blob(LARGE_DIGEST), Range="bytes=0-4").gives(200, Content_Length=str(SIZE)),
    ),
    requirement(
        "range-of-what-is-meant",
        "A range comes only of the bytes that If-Range names, else the whole blob",
        push_blob(LAYER),
        get(blob(LAYER_DIGEST), Range="bytes=5-", If_Range=ETAG).gives(206, LAYER[5:]),
        get(blob(LAYER_DIGEST), Range="bytes=5-", If_Range=f'"{NEVER_PUSHED}"').gives(200, LAYER),
    ),
    requirement(
        "range-of-nothing",
        "A range of a blob that is not here is 404",
        get(blob(NEVER_PUSHED), Range="bytes=5-1").fails(404, "BLOB_UNKNOWN"),
    ),
    requirement(
        "blob-not-changed",
        "ETag is the digest; a blob that the client names in If-None-Match is 304",
        push_blob(LAYER),
        get(blob(LAYER_DIGEST)).gives(200, ETag=ETAG),
        *(
            step
            for known in (ETAG, f"W/{ETAG}", f'"x", {ETAG}', "*")
            for step in (
                get(blob(LAYER_DIGEST), If_None_Match=known).gives(304, b"", ETag=ETAG),
                head(blob(LAYER_DIGEST), If_None_Match=known).gives(304, b"", ETag=ETAG),
            )
        ),
        get(blob(LAYER_DIGEST), If_None_Match='"x"').gives(200, LAYER),
        get(blob(LAYER_DIGEST), If_None_Match=('"x"', ETAG)).gives(304),
    ),
    *(
        requirement(
            f"manifest-{method.lower()}-by-{by}",
            f"{method} of a manifest by {by} is 200 with its type, length and digest, and its exact bytes",
            push(IMAGE, "latest"),
            (get if method == "GET" else head)(manifest(reference)).gives(
                200,
                IMAGE.manifest if method == "GET" else b"",
                Content_Type=OCI_MANIFEST,
                Content_Length=str(len(IMAGE.manifest)),
                Docker_Content_Digest=str(IMAGE.digest),
                ETag=f'"{IMAGE.digest}"',
            ),
        )
        for method in ("GET", "HEAD")
        for by, reference in (("tag", "latest"), ("digest", IMAGE.digest))
    ),
    requirement(
        "manifest-unknown",
        "An unknown tag, digest or repository is 404",
        push(IMAGE, "latest"),
        get(manifest("missing")).fails(404, "MANIFEST_UNKNOWN"),
        head(manifest("missing")).fails(404),
        get(manifest(OTHER_IMAGE.digest)).fails(404, "MANIFEST_UNKNOWN"),
        get(manifest(IMAGE.digest, "<other>")).fails(404, "MANIFEST_UNKNOWN"),
        get(manifest("latest", "<other>")).fails(404, "MANIFEST_UNKNOWN"),
    ),
    requirement(
        "manifest-accept",
        "Accept comes as one comma list or in several lines; the stored type is answered whatever it says",
        push(DOCKER_IMAGE, "latest"),
        *(
            ask(manifest("latest"), Accept=accepted).gives(200, Content_Type=DOCKER_MANIFEST)
            for ask in (get, head)
            for accepted in (
                f"{DOCKER_MANIFEST}, {DOCKER_LIST}, {OCI_INDEX}, {OCI_MANIFEST}, */*",
                (DOCKER_MANIFEST, DOCKER_LIST, OCI_INDEX, OCI_MANIFEST),
                OCI_MANIFEST,
                "text/html;q=0.5",
                "*/*",
            )
        ),
    ),
    requirement(
        "manifest-accept-index",
        "An index is never turned into the image for somebody's platform",
        push(IMAGE),
        push(OTHER_IMAGE),
        push(INDEX, "multi"),
        get(manifest("multi"), Accept=DOCKER_MANIFEST).gives(200, INDEX.manifest, Content_Type=OCI_INDEX),
    ),
    requirement(
        "manifest-not-changed",
        "A manifest that the client names in If-None-Match is 304; after its tag has moved it is 200",
        push(IMAGE, "latest"),
        *(
            ask(manifest(reference), If_None_Match=known).gives(304, b"", ETag=f'"{IMAGE.digest}"')
            for ask in (get, head)
            for reference in ("latest", IMAGE.digest)
            for known in (f'"{IMAGE.digest}"', f'W/"{IMAGE.digest}"', "*", f'"x", "{IMAGE.digest}"')
        ),
        push(OTHER_IMAGE, "latest"),
        get(manifest("latest"), If_None_Match=f'"{IMAGE.digest}"').gives(200, OTHER_IMAGE.manifest),
    ),
    requirement(
        "tag-moved",
        "A tag that was moved means the new manifest at once, and back again",
        push(IMAGE, "latest"),
        get(manifest("latest")).gives(200, IMAGE.manifest),
        push(OTHER_IMAGE, "latest"),
        get(manifest("latest")).gives(200, OTHER_IMAGE.manifest),
        head(manifest("latest")).gives(200, Docker_Content_Digest=str(OTHER_IMAGE.digest)),
        push(IMAGE, "latest"),
        get(manifest("latest")).gives(200, IMAGE.manifest),
        get(manifest(OTHER_IMAGE.digest)).gives(200, OTHER_IMAGE.manifest),
    ),
)
