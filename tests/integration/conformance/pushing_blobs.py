"""Pushes of blobs: in one request, in chunks, as a stream; mounts; uploads that go wrong or are given up."""

from __future__ import annotations

from typing import Final

from tests.integration.conformance.language import (
    LOCATION,
    UPLOADS,
    Matching,
    OtherThan,
    Requirement,
    blob,
    closing,
    delete,
    get,
    head,
    patch,
    post,
    put,
    requirement,
)
from tests.integration.conformance.samples import (
    EMPTY_512,
    EMPTY_DIGEST,
    LARGE,
    LARGE_DIGEST,
    LAYER,
    LAYER_512,
    LAYER_DIGEST,
    NEVER_PUSHED,
    SHA512,
    push_blob,
)

SESSION: Final = Matching(r"/v2/<name>/blobs/uploads/[0-9a-f]{32}")
BLOB: Final = blob(LAYER_DIGEST)
UNKNOWN_SESSION: Final = f"{UPLOADS}0123456789ab4cde8f0123456789abcd"
LAST: Final = len(LARGE) - 1

PUSHING_BLOBS: Final[tuple[Requirement, ...]] = (
    requirement(
        "upload-begin",
        "POST with Content-Length: 0 is 202 with a location of its own",
        post(UPLOADS).gives(202, Location=SESSION, Range="0-0").keeps("first"),
        post(UPLOADS).gives(202, Location=OtherThan("<first>")).keeps("second"),
        patch("<first>", b"first").gives(202, Range="0-4"),
        get("<second>").gives(204, Range="0-0"),
    ),
    requirement(
        "upload-post",
        "POST with a digest and the whole body is 201",
        post(f"{UPLOADS}?digest={LAYER_DIGEST}", LAYER).gives(201, Location=BLOB),
        head(BLOB).gives(200, Content_Length="1000"),
        post(f"{UPLOADS}?digest={LARGE_DIGEST}", LARGE).gives(201, Location=blob(LARGE_DIGEST)),
        get(blob(LARGE_DIGEST)).gives(200, LARGE),
    ),
    requirement(
        "upload-post-stream",
        "POST with a digest may have its body in the chunked coding",
        post(f"{UPLOADS}?digest={LAYER_DIGEST}", (LAYER[:10], LAYER[10:])).gives(201, Location=BLOB),
        get(BLOB).gives(200, LAYER),
    ),
    requirement(
        "upload-put-whole",
        "POST, then PUT with the whole body is 201",
        post(UPLOADS).gives(202),
        put(closing(LAYER_DIGEST), LAYER, Content_Type="application/octet-stream").gives(201, Location=BLOB),
        get(BLOB).gives(200, LAYER),
        post(UPLOADS).gives(202),
        put(closing(LARGE_DIGEST), (LARGE[:1], LARGE[1:])).gives(201),
        get(blob(LARGE_DIGEST)).gives(200, LARGE),
    ),
    requirement(
        "upload-continue",
        "A client that waits for 100 Continue before it sends a body may send it; other expectations are ignored",
        post(UPLOADS).gives(202),
        put(closing(LAYER_DIGEST), LAYER, Expect="100-continue").gives(201),
        post(f"{UPLOADS}?digest={LAYER_DIGEST}", LAYER, Expect="a miracle").gives(201),
    ),
    requirement(
        "upload-stream",
        "PATCH without Content-Range and Content-Length is a stream; PUT without a body closes it",
        post(UPLOADS).gives(202),
        patch(LOCATION, (LARGE[:300_000], LARGE[300_000:])).gives(202, Location=SESSION, Range=f"0-{LAST}"),
        put(closing(LARGE_DIGEST)).gives(201, Location=blob(LARGE_DIGEST)),
        head(blob(LARGE_DIGEST)).gives(200, Content_Length=str(len(LARGE))),
        get(blob(LARGE_DIGEST)).gives(200, LARGE),
    ),
    requirement(
        "upload-length-only",
        "PATCH with a Content-Length and no Content-Range is appended at the end",
        post(UPLOADS).gives(202),
        patch(LOCATION, LAYER[:600]).gives(202, Range="0-599"),
        patch(LOCATION, LAYER[600:]).gives(202, Range="0-999"),
        put(closing(LAYER_DIGEST)).gives(201),
        get(BLOB).gives(200, LAYER),
    ),
    requirement(
        "upload-chunks",
        "Chunks have Content-Range: a-b from 0 on; each 202 tells the last byte that is held, and where to go on",
        post(UPLOADS).gives(202),
        patch(LOCATION, LARGE[:1], Content_Range="0-0").gives(202, Location=SESSION, Range="0-0"),
        patch(LOCATION, LARGE[1:300_000], Content_Range="1-299999").gives(202, Location=SESSION, Range="0-299999"),
        patch(LOCATION, LARGE[300_000:], Content_Range=f"300000-{LAST}").gives(202, Range=f"0-{LAST}"),
        put(closing(LARGE_DIGEST)).gives(201),
        get(blob(LARGE_DIGEST)).gives(200, LARGE),
    ),
    requirement(
        "upload-last-chunk-with-put",
        "The closing PUT may bring the last chunk, small or large, with or without its Content-Range",
        *(
            step
            for at, headers in (
                (999, {"Content_Range": f"999-{LAST}"}),
                (LAST, {"Content_Range": f"{LAST}-{LAST}"}),
                (999, {}),
                (LAST, {}),
            )
            for step in (
                post(UPLOADS).gives(202),
                patch(LOCATION, LARGE[:at], Content_Range=f"0-{at - 1}").gives(202),
                put(closing(LARGE_DIGEST), LARGE[at:], **headers).gives(201),
                get(blob(LARGE_DIGEST)).gives(200, LARGE),
            )
        ),
    ),
    requirement(
        "upload-status",
        "GET of an upload's location is 204 with Location and Range; with nothing held yet 0-0",
        post(UPLOADS).gives(202),
        get(LOCATION).gives(204, b"", Location=SESSION, Range="0-0"),
        patch(LOCATION, LAYER[:10]).gives(202),
        get(LOCATION).gives(204, b"", Location=SESSION, Range="0-9"),
    ),
    *(
        requirement(
            f"chunk-{where.replace(' ', '-')}-by-patch",
            f"A chunk {where} of its turn is 416 and stores nothing; GET tells where to go on; the right one succeeds",
            post(UPLOADS).gives(202),
            patch(LOCATION, LAYER[:500], Content_Range="0-499").gives(202),
            patch(LOCATION, LAYER[:100], Content_Range=f"{at}-{at + 99}").fails(
                416, "BLOB_UPLOAD_INVALID", Location=SESSION, Range="0-499"
            ),
            get(LOCATION).gives(204, Location=SESSION, Range="0-499"),
            patch(LOCATION, LAYER[500:], Content_Range="500-999").gives(202, Range="0-999"),
            put(closing(LAYER_DIGEST)).gives(201),
            get(BLOB).gives(200, LAYER),
        )
        for where, at in (("ahead", 600), ("just ahead", 501), ("back", 0), ("just back", 499), ("far ahead", 10**12))
    ),
    *(
        requirement(
            f"chunk-{where}-by-put",
            f"The same by the closing PUT, whose chunk is {where} and {size}",
            post(UPLOADS).gives(202),
            patch(LOCATION, data[:500], Content_Range="0-499").gives(202),
            put(closing(digest), data[600:], Content_Range=f"{at}-{at + len(data) - 601}").fails(
                416, "BLOB_UPLOAD_INVALID", Location=SESSION, Range="0-499"
            ),
            get(LOCATION).gives(204, Range="0-499"),
            head(blob(digest)).fails(404),
            put(closing(digest), data[500:], Content_Range=f"500-{len(data) - 1}").gives(201),
            get(blob(digest)).gives(200, data),
        )
        for size, data, digest in (("small", LAYER, LAYER_DIGEST), ("large", LARGE, LARGE_DIGEST))
        for where, at in ((f"{size}-ahead", 600), (f"{size}-back", 0))
    ),
    requirement(
        "chunk-first-not-at-0",
        "The first chunk begins at 0, or it is 416",
        post(UPLOADS).gives(202),
        patch(LOCATION, LAYER[1:], Content_Range="1-999").fails(416, "BLOB_UPLOAD_INVALID"),
        put(closing(LAYER_DIGEST), LAYER[1:], Content_Range="1-999").fails(416, "BLOB_UPLOAD_INVALID"),
        get(LOCATION).gives(204, Range="0-0"),
        put(closing(LAYER_DIGEST), LAYER, Content_Range="0-999").gives(201),
    ),
    requirement(
        "chunk-again",
        "A chunk that is sent again after a lost answer is told the offset by 416",
        post(UPLOADS).gives(202),
        patch(LOCATION, LAYER[:500], Content_Range="0-499").gives(202),
        patch(LOCATION, LAYER[:500], Content_Range="0-499").fails(416, "BLOB_UPLOAD_INVALID", Range="0-499"),
    ),
    requirement(
        "chunk-length",
        "A length and a range that disagree are 400 SIZE_INVALID, and nothing is stored",
        post(UPLOADS).gives(202),
        patch(LOCATION, LAYER[:100], Content_Range="0-98").fails(400, "SIZE_INVALID"),
        patch(LOCATION, LAYER[:100], Content_Range="0-100").fails(400, "SIZE_INVALID"),
        put(closing(LAYER_DIGEST), LAYER, Content_Range="0-998").fails(400, "SIZE_INVALID"),
        put(closing(LAYER_DIGEST), Content_Range="0-999").fails(400, "SIZE_INVALID"),
        get(LOCATION).gives(204, Range="0-0"),
    ),
    requirement(
        "chunk-range-malformed",
        "A Content-Range that cannot be read is 400, and nothing is stored",
        post(UPLOADS).gives(202),
        *(
            patch(LOCATION, LAYER[:10], Content_Range=text).fails(400, "BLOB_UPLOAD_INVALID")
            for text in ("bytes 0-9/10", "bytes=0-9", "9-0", "-9", "0-", "x", "0-99999999999999999999999")
        ),
        get(LOCATION).gives(204, Range="0-0"),
    ),
    requirement(
        "commit-wrong-digest",
        "A wrong digest is 400 DIGEST_INVALID where the upload is closed, and no such blob exists afterwards",
        post(f"{UPLOADS}?digest={NEVER_PUSHED}", LAYER).fails(400, "DIGEST_INVALID"),
        post(f"{UPLOADS}?digest={NEVER_PUSHED}", LARGE).fails(400, "DIGEST_INVALID"),
        post(UPLOADS).gives(202),
        put(closing(NEVER_PUSHED), LAYER).fails(400, "DIGEST_INVALID"),
        post(UPLOADS).gives(202),
        patch(LOCATION, LAYER[:500], Content_Range="0-499").gives(202),
        put(closing(NEVER_PUSHED), LAYER[500:], Content_Range="500-999").fails(400, "DIGEST_INVALID"),
        post(UPLOADS).gives(202),
        patch(LOCATION, (LAYER,)).gives(202),
        put(closing(NEVER_PUSHED)).fails(400, "DIGEST_INVALID"),
        get(blob(NEVER_PUSHED)).fails(404, "BLOB_UNKNOWN"),
        get(BLOB).fails(404, "BLOB_UNKNOWN"),
    ),
    requirement(
        "commit-without-digest",
        "A closing PUT without a digest is 400, and the upload can go on",
        post(UPLOADS).gives(202),
        patch(LOCATION, LAYER).gives(202),
        put(LOCATION).fails(400, "DIGEST_INVALID"),
        put(closing("sha256:abc")).fails(400, "DIGEST_INVALID"),
        put(closing(LAYER_DIGEST)).gives(201),
    ),
    requirement(
        "commit-ends-session",
        "After its commit an upload is unknown",
        post(UPLOADS).gives(202).keeps("first"),
        put(closing(LAYER_DIGEST, "<first>"), LAYER).gives(201),
        get("<first>").fails(404, "BLOB_UPLOAD_UNKNOWN"),
        patch("<first>", LAYER).fails(404, "BLOB_UPLOAD_UNKNOWN"),
    ),
    requirement(
        "upload-cancel",
        "DELETE of an upload's location is 204; after that everything about it is 404",
        post(UPLOADS).gives(202),
        patch(LOCATION, LAYER).gives(202),
        delete(LOCATION).gives(204, b""),
        get(LOCATION).fails(404, "BLOB_UPLOAD_UNKNOWN"),
        patch(LOCATION, LAYER).fails(404, "BLOB_UPLOAD_UNKNOWN"),
        put(closing(LAYER_DIGEST), LAYER).fails(404, "BLOB_UPLOAD_UNKNOWN"),
        delete(LOCATION).fails(404, "BLOB_UPLOAD_UNKNOWN"),
        get(BLOB).fails(404, "BLOB_UNKNOWN"),
    ),
    requirement(
        "upload-unknown",
        "An upload that nobody began is 404 BLOB_UPLOAD_UNKNOWN",
        *(
            step
            for session in (UNKNOWN_SESSION, f"{UPLOADS}not-a-session")
            for step in (
                get(session).fails(404, "BLOB_UPLOAD_UNKNOWN"),
                patch(session, LAYER).fails(404, "BLOB_UPLOAD_UNKNOWN"),
                patch(session, LAYER, Content_Range="0-999").fails(404, "BLOB_UPLOAD_UNKNOWN"),
                put(closing(LAYER_DIGEST, session), LAYER).fails(404, "BLOB_UPLOAD_UNKNOWN"),
                put(closing(LARGE_DIGEST, session), LARGE).fails(404, "BLOB_UPLOAD_UNKNOWN"),
                delete(session).fails(404, "BLOB_UPLOAD_UNKNOWN"),
            )
        ),
    ),
    requirement(
        "blob-empty-pushed",
        "The empty blob may be pushed in every way",
        post(f"{UPLOADS}?digest={EMPTY_DIGEST}").gives(201),
        post(UPLOADS).gives(202),
        put(closing(EMPTY_DIGEST)).gives(201),
        post(UPLOADS).gives(202),
        patch(LOCATION).gives(202, Range="0-0"),
        put(closing(EMPTY_512)).gives(201),
        get(blob(EMPTY_DIGEST)).gives(200, b""),
        get(blob(EMPTY_512)).gives(200, b""),
        post(f"/v2/<other>/blobs/uploads/?mount={EMPTY_512}&from=<name>").gives(201),
        post(UPLOADS).gives(202),
        put(closing(LAYER_DIGEST)).fails(400, "DIGEST_INVALID"),
    ),
    requirement(
        "blob-again",
        "A blob that is here may be pushed again, in every way, and gets 201",
        push_blob(LAYER),
        push_blob(LAYER),
        post(UPLOADS).gives(202),
        put(closing(LAYER_DIGEST), LAYER).gives(201),
        post(UPLOADS).gives(202),
        patch(LOCATION, LAYER).gives(202),
        put(closing(LAYER_DIGEST)).gives(201),
        get(BLOB).gives(200, LAYER),
    ),
    requirement(
        "mount-named",
        "A mount from a repository that has the blob is 201, with `from` as it is or percent-encoded",
        push_blob(LAYER, repository="<other>/a"),
        post(f"{UPLOADS}?mount={LAYER_DIGEST}&from=<other>/a").gives(201, Location=BLOB),
        get(BLOB).gives(200, LAYER),
        post(f"/v2/<name>/b/blobs/uploads/?from=<other>%2Fa&mount={LAYER_DIGEST}").gives(201),
        get(blob(LAYER_DIGEST, "<name>/b")).gives(200, LAYER),
        post(f"/v2/<name>/c/blobs/uploads/?mount={LAYER_DIGEST}&from=<name>%2fb").gives(201),
    ),
    requirement(
        "mount-512",
        "A mount works for sha512 in the same way",
        push_blob(LAYER, SHA512, repository="<other>"),
        post(f"{UPLOADS}?mount={LAYER_512}&from=<other>").gives(201, Location=blob(LAYER_512)),
        get(blob(LAYER_512)).gives(200, LAYER),
    ),
    requirement(
        "mount-anonymous",
        "A mount without `from` is 201 when any repository has the blob, else 202",
        push_blob(LAYER, repository="<other>"),
        post(f"{UPLOADS}?mount={LAYER_DIGEST}").gives(201, Location=BLOB),
        get(BLOB).gives(200, LAYER),
        post(f"{UPLOADS}?mount={NEVER_PUSHED}").gives(202, Location=SESSION),
    ),
    requirement(
        "mount-falls-through",
        "A mount from where the blob is not is 202 with an upload that works like any other",
        push_blob(LAYER, repository="<other>"),
        push_blob(b"something", repository="<other>/x"),
        *(
            step
            for source in ("<other>/x", "never-pushed", "UPPER", "..%2F..", "")
            for step in (
                post(f"/v2/<name>/blobs/uploads/?mount={LAYER_DIGEST}&from={source}").gives(202, Location=SESSION),
                get(LOCATION).gives(204, Range="0-0"),
                head(BLOB).fails(404),
            )
        ),
        put(closing(LAYER_DIGEST), LAYER).gives(201),
        get(BLOB).gives(200, LAYER),
    ),
    requirement(
        "mount-of-deleted",
        "A blob that was deleted from a repository cannot be mounted from there",
        push_blob(LAYER, repository="<other>"),
        delete(blob(LAYER_DIGEST, "<other>")).gives(202),
        post(f"{UPLOADS}?mount={LAYER_DIGEST}&from=<other>").gives(202),
    ),
    requirement(
        "mount-stays",
        "A mounted blob stays when it is deleted where it came from",
        push_blob(LAYER, repository="<other>"),
        post(f"{UPLOADS}?mount={LAYER_DIGEST}&from=<other>").gives(201),
        delete(blob(LAYER_DIGEST, "<other>")).gives(202),
        get(BLOB).gives(200, LAYER),
    ),
)
