"""Paths under /v2/, read from their right end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.core.digest import Digest
from kraken.oci.errors import Code, RegistryError
from kraken.oci.paths import (
    Base,
    BlobPath,
    Endpoint,
    ManifestPath,
    TagsPath,
    UploadPath,
    UploadsPath,
    blob_location,
    manifest_location,
    parse_path,
    upload_location,
)
from kraken.oci.references import RepositoryName, Tag
from kraken.oci.sessions import SessionId

DIGEST = Digest.of(b"hello")
SESSION = SessionId("0123456789ab4def8123456789abcdef")


def name(text: str) -> RepositoryName:
    return RepositoryName(text)


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/v2", Base()),
        ("/v2/", Base()),
        (f"/v2/a/b/blobs/{DIGEST}", BlobPath(name("a/b"), DIGEST)),
        ("/v2/a/manifests/latest", ManifestPath(name("a"), Tag("latest"))),
        (f"/v2/a/manifests/{DIGEST}", ManifestPath(name("a"), DIGEST)),
        ("/v2/a/blobs/uploads/", UploadsPath(name("a"))),
        ("/v2/a/blobs/uploads", UploadsPath(name("a"))),
        (f"/v2/a/blobs/uploads/{SESSION}", UploadPath(name("a"), SESSION)),
        ("/v2/a/tags/list", TagsPath(name("a"))),
    ],
)
def test_every_path_of_the_api_is_known(path: str, endpoint: Endpoint) -> None:
    assert parse_path(path) == endpoint


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/v2/tags/list/tags/list", TagsPath(name("tags/list"))),
        ("/v2/manifests/manifests/manifests", ManifestPath(name("manifests"), Tag("manifests"))),
        (f"/v2/a/blobs/uploads/blobs/{DIGEST}", BlobPath(name("a/blobs/uploads"), DIGEST)),
        ("/v2/blobs/blobs/uploads/", UploadsPath(name("blobs"))),
        (f"/v2/blobs/uploads/blobs/uploads/{SESSION}", UploadPath(name("blobs/uploads"), SESSION)),
        ("/v2/a/manifests/list", ManifestPath(name("a"), Tag("list"))),
    ],
)
def test_a_name_may_hold_the_words_of_the_api(path: str, endpoint: Endpoint) -> None:
    assert parse_path(path) == endpoint


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2/UPPER/tags/list", Code.NAME_INVALID),
        ("/v2/tags/list", Code.NAME_INVALID),
        ("/v2/a/../b/manifests/latest", Code.NAME_INVALID),
        ("/v2/a/blobs/sha256:abc", Code.DIGEST_INVALID),
        ("/v2/a/blobs/latest", Code.DIGEST_INVALID),
        ("/v2/a/blobs/md5:" + "0" * 32, Code.DIGEST_INVALID),
        ("/v2/a/manifests/sha256:abc", Code.DIGEST_INVALID),
        ("/v2/a/manifests/.hidden", Code.MANIFEST_INVALID),
        ("/v2/a/blobs/uploads/../../etc/passwd", Code.NAME_UNKNOWN),
        ("/v2/a/blobs/uploads/no-session", Code.BLOB_UPLOAD_UNKNOWN),
        ("/v2/_catalogue", Code.NAME_UNKNOWN),
        ("/v1/a/tags/list", Code.NAME_UNKNOWN),
        ("", Code.NAME_UNKNOWN),
    ],
)
def test_a_wrong_part_gets_the_code_of_that_part(path: str, code: Code) -> None:
    with pytest.raises(RegistryError) as caught:
        parse_path(path)

    assert [problem.code for problem in caught.value.problems] == [code]


@given(st.text(alphabet="av2/blobsmanifetgsuplod:._-%", max_size=120).map(lambda text: f"/v2/{text}") | st.text())
def test_any_path_gives_an_endpoint_or_our_error(path: str) -> None:
    try:
        answered: Endpoint | RegistryError = parse_path(path)
    except RegistryError as error:
        answered = error

    assert not isinstance(answered, RegistryError) or answered.status in (400, 404)


def test_locations_lead_back_to_where_they_came_from() -> None:
    repository = name("a/blobs/uploads")

    assert parse_path(blob_location(repository, DIGEST)) == BlobPath(repository, DIGEST)
    assert parse_path(manifest_location(repository, Tag("x"))) == ManifestPath(repository, Tag("x"))
    assert parse_path(upload_location(repository, SESSION)) == UploadPath(repository, SESSION)
