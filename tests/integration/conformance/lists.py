"""Lists in pages: tags of a repository, and the catalog."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from tests.integration.conformance.language import (
    LINK,
    TAGS,
    Requirement,
    delete,
    get,
    manifest,
    requirement,
)
from tests.integration.conformance.samples import ARTIFACT, IMAGE, push, push_blob

SORTED: Final = ("0", "B", "Z", "_x", "a", "a-b", "a.b", "b")
"""In bytewise order, which is not that of a dictionary."""


def _tags(*tags: str) -> dict[str, Any]:
    return {"name": "<name>", "tags": list(tags)}


def _catalog(*names: str) -> dict[str, Any]:
    return {"repositories": list(names)}


def _next(path: str, n: int, last: str) -> str:
    return f'<{path}?n={n}&last={quote(last, safe="")}>; rel="next"'


ALL_TAGS: Final = push(IMAGE, *reversed(SORTED))

LISTS: Final[tuple[Requirement, ...]] = (
    requirement(
        "tags",
        "All tags of a repository, in bytewise order, as JSON",
        ALL_TAGS,
        get(TAGS).gives(200, listing=_tags(*SORTED), Content_Type="application/json", Link=None),
    ),
    requirement(
        "tags-unknown",
        "An unknown repository is 404 NAME_UNKNOWN",
        get(TAGS).fails(404, "NAME_UNKNOWN"),
        get(f"{TAGS}?n=5&last=a").fails(404, "NAME_UNKNOWN"),
    ),
    requirement(
        "tags-none",
        "A repository without tags has an empty list, not null",
        push(IMAGE),
        get(TAGS).gives(200, listing=_tags()),
        get(f"{TAGS}?n=5").gives(200, listing=_tags(), Link=None),
    ),
    requirement(
        "tags-pages",
        "n gives that many, and a Link to the next as long as there are more",
        ALL_TAGS,
        get(f"{TAGS}?n=3").gives(200, listing=_tags("0", "B", "Z"), Link=_next(TAGS, 3, "Z")),
        get(LINK).gives(200, listing=_tags("_x", "a", "a-b"), Link=_next(TAGS, 3, "a-b")),
        get(LINK).gives(200, listing=_tags("a.b", "b"), Link=None),
    ),
    requirement(
        "tags-last-page",
        "A page that ends with the last tag has no Link",
        ALL_TAGS,
        get(f"{TAGS}?n=8").gives(200, listing=_tags(*SORTED), Link=None),
        get(f"{TAGS}?n=7").gives(200, listing=_tags(*SORTED[:7]), Link=_next(TAGS, 7, "a.b")),
        get(f"{TAGS}?n=1000000").gives(200, listing=_tags(*SORTED), Link=None),
    ),
    requirement(
        "tags-last",
        "last drops all tags up to and with it, bytewise, whether it exists or not, with and without n",
        ALL_TAGS,
        get(f"{TAGS}?last=a").gives(200, listing=_tags("a-b", "a.b", "b"), Link=None),
        get(f"{TAGS}?last=Y").gives(200, listing=_tags("Z", "_x", "a", "a-b", "a.b", "b")),
        get(f"{TAGS}?last=a%2Eb").gives(200, listing=_tags("b")),
        get(f"{TAGS}?last=~").gives(200, listing=_tags(), Link=None),
        get(f"{TAGS}?last=%C3%A4").gives(200, listing=_tags()),
        get(f"{TAGS}?last=").gives(200, listing=_tags(*SORTED)),
        get(f"{TAGS}?n=1&last=a").gives(200, listing=_tags("a-b"), Link=_next(TAGS, 1, "a-b")),
    ),
    requirement(
        "tags-last-deleted",
        "Pages go on although the last tag of the one before was deleted, and so was a tag ahead",
        ALL_TAGS,
        get(f"{TAGS}?n=3").gives(200, listing=_tags("0", "B", "Z"), Link=_next(TAGS, 3, "Z")),
        delete(manifest("Z")).gives(202),
        delete(manifest("a")).gives(202),
        get(LINK).gives(200, listing=_tags("_x", "a-b", "a.b"), Link=_next(TAGS, 3, "a.b")),
        get(LINK).gives(200, listing=_tags("b"), Link=None),
    ),
    requirement(
        "tags-n-0",
        "n=0 is an empty list without a Link",
        ALL_TAGS,
        get(f"{TAGS}?n=0").gives(200, listing=_tags(), Link=None),
    ),
    requirement(
        "tags-n-bad",
        "An n that is not a number, or negative, is 400",
        ALL_TAGS,
        *(
            get(f"{TAGS}?n={n}").fails(400, "UNSUPPORTED")
            for n in ("x", "-1", "", "1.5", "%2B1", "1e3", "0x10", "%D9%A1")
        ),
    ),
    requirement(
        "tags-many",
        "A thousand tags come in one page",
        push(IMAGE),
        *(
            push(IMAGE, f"{IMAGE.digest}?{'&'.join(f'tag=t{number:04}' for number in range(at, at + 100))}")[-1]
            for at in range(0, 1000, 100)
        ),
        get(TAGS).gives(200, listing=_tags(*(f"t{number:04}" for number in range(1000))), Link=None),
    ),
    requirement(
        "tags-of-artifacts",
        "Tags of artifacts are tags like any other",
        push(ARTIFACT, "sbom"),
        get(TAGS).gives(200, listing=_tags("sbom")),
    ),
    requirement(
        "catalog",
        "The catalog lists each repository once, in bytewise order, with the same pages",
        push(IMAGE, "a", "b", repository="<name>/b"),
        push(ARTIFACT, repository="<name>/b"),
        push(IMAGE, repository="<name>/a"),
        push(IMAGE, repository="<name>/a-b/c"),
        push(IMAGE, repository="<name>/c"),
        get("/v2/_catalog?n=2&last=<name>").gives(
            200,
            listing=_catalog("<name>/a", "<name>/a-b/c"),
            Content_Type="application/json",
            Link='</v2/_catalog?n=2&last=<name>%2Fa-b%2Fc>; rel="next"',
        ),
        get(LINK).gives(200, listing=_catalog("<name>/b", "<name>/c")),
        get("/v2/_catalog?n=1&last=<name>/a0").gives(200, listing=_catalog("<name>/b")),
        get("/v2/_catalog?n=1000").gives(200),
        get("/v2/_catalog?last=zzzz").gives(200, listing=_catalog(), Link=None),
    ),
    requirement(
        "catalog-n",
        "n=0 is an empty list without a Link; a bad n is 400",
        push(IMAGE),
        get("/v2/_catalog?n=0").gives(200, listing=_catalog(), Link=None),
        *(get(f"/v2/_catalog?n={n}").fails(400, "UNSUPPORTED") for n in ("x", "-1", "")),
    ),
    requirement(
        "catalog-deleted",
        "A repository whose last manifest was deleted is listed no longer",
        push(IMAGE, "v1", repository="<name>/a"),
        push_blob(b"only a blob", repository="<name>/b"),
        push(IMAGE, repository="<name>/c"),
        get("/v2/_catalog?n=2&last=<name>").gives(200, listing=_catalog("<name>/a", "<name>/c")),
        delete(manifest(IMAGE.digest, "<name>/a")).gives(202),
        get("/v2/_catalog?n=1&last=<name>").gives(200, listing=_catalog("<name>/c")),
        get("/v2/<name>/a/tags/list").fails(404, "NAME_UNKNOWN"),
    ),
)
