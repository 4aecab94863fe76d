"""Referrers: the manifests of a repository that are about another one."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from tests.helpers.registry import Image, an_image, described
from tests.integration.conformance.language import (
    LINK,
    Matching,
    Requirement,
    delete,
    get,
    manifest,
    referrers,
    requirement,
)
from tests.integration.conformance.samples import (
    CONFIG_TYPE,
    EMPTY_JSON,
    EMPTY_TYPE,
    IMAGE,
    IMAGE_512,
    NEVER_PUSHED,
    NEVER_PUSHED_512,
    SBOM,
    SHA512,
    SIGNATURE,
    artifact,
    document,
    push,
    put_manifest,
    subject_of,
)

from kraken.core.digest import Digest
from kraken.oci.manifests import OCI_INDEX

NOTES: Final = {"org.example.made": "2024", "ü": "\"'\n<>&"}
THE_SBOM: Final = artifact(b"sbom", SBOM, subject=subject_of(IMAGE), annotations=NOTES)
THE_SIGNATURE: Final = artifact(b"signature", SIGNATURE, subject=subject_of(IMAGE))
WITHOUT_TYPE: Final = artifact(b"typeless", None, subject=subject_of(IMAGE))
AN_IMAGE_ABOUT: Final = an_image(b"about", subject=IMAGE.digest)
INDEX_ABOUT: Final = document(OCI_INDEX, manifests=[], subject=subject_of(IMAGE))
TYPED_INDEX_ABOUT: Final = document(OCI_INDEX, manifests=[], artifactType=SBOM, subject=subject_of(IMAGE))
ABOUT_512: Final = artifact(b"about", SBOM, subject=subject_of(IMAGE, SHA512))
ABOUT_ABSENT: Final = artifact(
    b"about nothing", SBOM, subject={"mediaType": OCI_INDEX, "digest": str(NEVER_PUSHED), "size": 1}
)
HUGE: Final = tuple(
    artifact(b"huge", SBOM, subject=subject_of(IMAGE), annotations={"x": letter * 2_500_000}) for letter in "ab"
)

OLD_STYLE: Final = artifact(b"old", SBOM)
"""An artifact of a client that knows no subject: it lists it itself, in an index under the fallback tag."""

FALLBACK: Final = f"sha256-{IMAGE.digest.encoded}"
FALLBACK_512: Final = f"sha512-{IMAGE_512.encoded[:64]}"
"""A tag has room for 64 characters of a digest: the specification cuts it off there."""


def _entry(image: Image, artifact_type: str | None, notes: dict[str, str] | None = None) -> dict[str, Any]:
    """A referrer as it is listed."""
    entry = described(image.manifest, image.media_type)
    told = {"artifactType": artifact_type, "annotations": notes}
    return entry | {name: value for name, value in told.items() if value is not None}


def _index(*entries: dict[str, Any]) -> dict[str, Any]:
    """The list, in the order of digests."""
    listed = sorted(entries, key=lambda entry: str(entry["digest"]))
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}


def _fallback(*entries: dict[str, Any]) -> Image:
    return document(OCI_INDEX, manifests=list(entries))


def _next(subject: Digest, last: Digest, artifact_type: str | None = None) -> str:
    kind = "" if artifact_type is None else f"&artifactType={quote(artifact_type, safe='')}"
    return f'<{referrers(subject)}?last={quote(str(last), safe="")}{kind}>; rel="next"'


SBOM_ENTRY: Final = _entry(THE_SBOM, SBOM, NOTES)
SIGNATURE_ENTRY: Final = _entry(THE_SIGNATURE, SIGNATURE)
SMALLER, LARGER = sorted(HUGE, key=lambda image: str(image.digest))
HUGE_ENTRIES: Final = [_entry(image, SBOM, {"x": "ab"[HUGE.index(image)] * 2_500_000}) for image in (SMALLER, LARGER)]

REFERRERS: Final[tuple[Requirement, ...]] = (
    requirement(
        "referrers",
        "All manifests with that subject, as an index, with type, size, digest, annotations and artifactType",
        push(IMAGE),
        *(push(each) for each in (THE_SBOM, THE_SIGNATURE)),
        get(referrers(IMAGE.digest)).gives(
            200,
            listing=_index(SBOM_ENTRY, SIGNATURE_ENTRY),
            Content_Type=OCI_INDEX,
            OCI_Filters_Applied=None,
            Link=None,
        ),
    ),
    requirement(
        "referrers-types",
        "Without an artifactType of its own an image has that of its config, and an index has none",
        *(push(each) for each in (WITHOUT_TYPE, AN_IMAGE_ABOUT, INDEX_ABOUT, TYPED_INDEX_ABOUT)),
        get(referrers(IMAGE.digest)).gives(
            200,
            listing=_index(
                _entry(WITHOUT_TYPE, EMPTY_TYPE),
                _entry(AN_IMAGE_ABOUT, CONFIG_TYPE),
                _entry(INDEX_ABOUT, None),
                _entry(TYPED_INDEX_ABOUT, SBOM),
            ),
        ),
    ),
    requirement(
        "referrers-none",
        "What nobody refers to has an empty list, in any repository: never 404, never null",
        get(referrers(NEVER_PUSHED)).gives(200, listing=_index(), Content_Type=OCI_INDEX),
        get(referrers(NEVER_PUSHED_512)).gives(200, listing=_index()),
        push(IMAGE, "latest"),
        get(referrers(IMAGE.digest)).gives(200, listing=_index()),
    ),
    requirement(
        "referrers-malformed",
        "A malformed digest is 400",
        get(referrers("sha256:abc")).fails(400, "DIGEST_INVALID"),
        get(referrers("latest")).fails(400, "DIGEST_INVALID"),
    ),
    requirement(
        "referrers-filter",
        "artifactType gives those of this type, and says so in OCI-Filters-Applied",
        push(THE_SBOM),
        push(THE_SIGNATURE),
        get(f"{referrers(IMAGE.digest)}?artifactType={quote(SBOM, safe='')}").gives(
            200, listing=_index(SBOM_ENTRY), OCI_Filters_Applied="artifactType", Content_Type=OCI_INDEX
        ),
        get(f"{referrers(IMAGE.digest)}?artifactType={SIGNATURE}").gives(200, listing=_index(SIGNATURE_ENTRY)),
        get(f"{referrers(IMAGE.digest)}?artifactType=text/nothing").gives(
            200, listing=_index(), OCI_Filters_Applied="artifactType"
        ),
    ),
    requirement(
        "referrers-subject-absent",
        "They are listed although the subject is not here, and when it comes",
        push(ABOUT_ABSENT),
        get(referrers(NEVER_PUSHED)).gives(200, listing=_index(_entry(ABOUT_ABSENT, SBOM))),
        push(THE_SBOM),
        get(referrers(IMAGE.digest)).gives(200, listing=_index(SBOM_ENTRY)),
        push(IMAGE),
        get(referrers(IMAGE.digest)).gives(200, listing=_index(SBOM_ENTRY)),
    ),
    requirement(
        "referrers-elsewhere",
        "Those of another repository are not listed",
        push(THE_SBOM, repository="<other>"),
        get(referrers(IMAGE.digest)).gives(200, listing=_index()),
    ),
    requirement(
        "referrers-512",
        "A subject may be named by its sha512, and is then found by it",
        push(ABOUT_512),
        get(referrers(IMAGE_512)).gives(200, listing=_index(_entry(ABOUT_512, SBOM))),
        get(referrers(IMAGE.digest)).gives(200, listing=_index()),
    ),
    requirement(
        "referrers-chain",
        "A referrer may have referrers",
        push(THE_SBOM),
        push(about := artifact(b"signature of an sbom", SIGNATURE, subject=subject_of(THE_SBOM))),
        get(referrers(THE_SBOM.digest)).gives(200, listing=_index(_entry(about, SIGNATURE))),
    ),
    requirement(
        "referrers-pages",
        "A list too large for one manifest comes in pages with Link, which keep the filter",
        push(IMAGE),
        push(HUGE[0]),
        push(HUGE[1]),
        push(THE_SIGNATURE),
        get(f"{referrers(IMAGE.digest)}?artifactType={quote(SBOM, safe='')}").gives(
            200,
            listing=_index(HUGE_ENTRIES[0]),
            Link=_next(IMAGE.digest, SMALLER.digest, SBOM),
            OCI_Filters_Applied="artifactType",
        ),
        get(LINK).gives(200, listing=_index(HUGE_ENTRIES[1]), Link=None, OCI_Filters_Applied="artifactType"),
        get(referrers(IMAGE.digest)).gives(200, Link=Matching(r'</v2/<name>/referrers/.*>; rel="next"')),
    ),
    requirement(
        "referrers-deleted",
        "A deleted referrer is gone at once; it is listed again when it is pushed again",
        push(THE_SBOM, "sbom"),
        push(THE_SIGNATURE),
        delete(manifest(THE_SBOM.digest)).gives(202),
        get(referrers(IMAGE.digest)).gives(200, listing=_index(SIGNATURE_ENTRY)),
        put_manifest(THE_SBOM, THE_SBOM.digest).gives(201),
        get(referrers(IMAGE.digest)).gives(200, listing=_index(SBOM_ENTRY, SIGNATURE_ENTRY)),
    ),
    requirement(
        "referrers-untagged",
        "Deleting its tag leaves a referrer in the list",
        push(THE_SBOM, "sbom"),
        delete(manifest("sbom")).gives(202),
        get(referrers(IMAGE.digest)).gives(200, listing=_index(SBOM_ENTRY)),
    ),
    requirement(
        "referrers-of-deleted",
        "Deleting the subject leaves its referrers in place",
        push(IMAGE, "latest"),
        push(THE_SBOM),
        delete(manifest(IMAGE.digest)).gives(202),
        get(referrers(IMAGE.digest)).gives(200, listing=_index(SBOM_ENTRY)),
        get(manifest(THE_SBOM.digest)).gives(200, THE_SBOM.manifest),
    ),
    requirement(
        "referrers-fallback",
        "What an older client listed under the fallback tag is listed too, each once, filtered like the rest",
        push(IMAGE),
        push(OLD_STYLE),
        push(THE_SIGNATURE),
        push(_fallback(_entry(OLD_STYLE, SBOM, {"by": "hand"}), SIGNATURE_ENTRY), FALLBACK),
        get(referrers(IMAGE.digest)).gives(
            200, listing=_index(_entry(OLD_STYLE, SBOM, {"by": "hand"}), SIGNATURE_ENTRY)
        ),
        get(f"{referrers(IMAGE.digest)}?artifactType={quote(SBOM, safe='')}").gives(
            200, listing=_index(_entry(OLD_STYLE, SBOM, {"by": "hand"})), OCI_Filters_Applied="artifactType"
        ),
    ),
    requirement(
        "referrers-fallback-512",
        "So for a sha512, of which the fallback tag has the first 64 characters",
        push(OLD_STYLE),
        push(_fallback(_entry(OLD_STYLE, SBOM)), FALLBACK_512),
        get(referrers(IMAGE_512)).gives(200, listing=_index(_entry(OLD_STYLE, SBOM))),
    ),
    requirement(
        "referrers-fallback-deleted",
        "What is deleted is gone from the list, although a fallback tag still names it",
        push(OLD_STYLE),
        push(THE_SIGNATURE),
        push(_fallback(_entry(OLD_STYLE, SBOM), SIGNATURE_ENTRY), FALLBACK),
        delete(manifest(OLD_STYLE.digest)).gives(202),
        get(referrers(IMAGE.digest)).gives(200, listing=_index(SIGNATURE_ENTRY)),
        delete(manifest(THE_SIGNATURE.digest)).gives(202),
        get(referrers(IMAGE.digest)).gives(200, listing=_index()),
    ),
    requirement(
        "referrers-fallback-is-something-else",
        "A tag that only looks like a fallback tag disturbs nobody",
        push(THE_SIGNATURE),
        push(IMAGE, FALLBACK),
        get(referrers(IMAGE.digest)).gives(200, listing=_index(SIGNATURE_ENTRY)),
        push(artifact(EMPTY_JSON, SBOM), FALLBACK),
        get(referrers(IMAGE.digest)).gives(200, listing=_index(SIGNATURE_ENTRY)),
    ),
)
