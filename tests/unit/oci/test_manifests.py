"""Manifests that clients push."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.core.digest import Digest
from kraken.core.errors import Invalid
from kraken.oci.manifests import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    MAX_MANIFEST_BYTES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    parse_manifest,
    plain_media_type,
)

CONFIG, LAYER, CHILD, SUBJECT = (Digest.of(name) for name in (b"config", b"layer", b"child", b"subject"))


def descriptor(digest: Digest, media_type: str = "a/b", **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(digest), "size": 3, **more}


def image(**more: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "config": descriptor(CONFIG), "layers": [descriptor(LAYER)], **more}


def index(**more: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "manifests": [descriptor(CHILD)], **more}


def parsed(body: object, content_type: str | None = None) -> Manifest:
    return parse_manifest(json.dumps(body).encode(), content_type)


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_an_image_refers_to_its_config_and_layers(media_type: str) -> None:
    blobs = (Descriptor(CONFIG, "a/b", 3), Descriptor(LAYER, "a/b", 3))

    assert parsed(image(), media_type) == Manifest(media_type, blobs, (), None, "a/b", {})
    assert parsed(image(mediaType=media_type)) == Manifest(media_type, blobs, (), None, "a/b", {})


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_an_index_refers_to_its_children(media_type: str) -> None:
    manifest = parsed(index(), f"{media_type}; charset=utf-8")

    assert manifest == Manifest(media_type, (), (Descriptor(CHILD, "a/b", 3),), None, "", {})
    assert manifest.is_index


def test_a_body_without_any_type_is_what_it_looks_like() -> None:
    assert parsed(image()).media_type == OCI_MANIFEST
    assert parsed(index()).media_type == OCI_INDEX


def test_a_subject_is_found_in_images_and_indexes() -> None:
    for body in (image, index):
        assert parsed(body(subject=descriptor(SUBJECT))).subject == Descriptor(SUBJECT, "a/b", 3)


@pytest.mark.parametrize(
    "body",
    [
        image(layers=[]),
        {key: value for key, value in image().items() if key != "layers"},
        image(artifactType="application/x", annotations={"a": "b"}, unknown=[1, {"x": None}]),
        image(config=descriptor(CONFIG, data="e30=")),
        index(manifests=[]),
        index(manifests=[descriptor(CHILD, OCI_INDEX)]),
    ],
)
def test_artifacts_empty_lists_inline_data_and_unknown_fields_are_valid(body: object) -> None:
    assert parsed(body)


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    ],
)
def test_layers_that_are_not_uploaded_are_marked(media_type: str) -> None:
    manifest = parsed(image(layers=[descriptor(LAYER, media_type)]))

    assert [blob.foreign for blob in manifest.blobs] == [False, True]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (image(mediaType=OCI_MANIFEST), DOCKER_MANIFEST),
        (image(), "application/json"),
        (image(), "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        (image(schemaVersion=1), None),
        (image(schemaVersion="2"), None),
        (image(manifests=[]), OCI_MANIFEST),
        (index(layers=[]), OCI_INDEX),
        (index(config=descriptor(CONFIG)), OCI_INDEX),
        ({"schemaVersion": 2, "layers": []}, OCI_MANIFEST),
        ({}, None),
        ([], None),
        (None, None),
        (image(layers=[{**descriptor(LAYER), "digest": "sha256:../../x"}]), None),
        (image(layers=[{**descriptor(LAYER), "size": -1}]), None),
        (image(layers=[{**descriptor(LAYER), "size": 2**60}]), None),
        (image(layers=[{"mediaType": "a/b"}]), None),
        (image(layers=[descriptor(LAYER)] * 10_001), None),
    ],
)
def test_anything_else_is_refused(body: object, content_type: str | None) -> None:
    with pytest.raises(Invalid):
        parsed(body, content_type)


def test_the_size_has_a_limit_on_both_sides_of_which_it_holds() -> None:
    body = json.dumps(image()).encode()
    largest = body + b" " * (MAX_MANIFEST_BYTES - len(body))

    assert parse_manifest(largest, None)
    with pytest.raises(Invalid):
        parse_manifest(largest + b" ", None)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_manifest_or_our_error(data: bytes) -> None:
    with pytest.raises(Invalid):
        parse_manifest(data, None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size", "subject"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(
    st.fixed_dictionaries(
        {"schemaVersion": st.just(2)},
        optional={
            "config": json_values,
            "layers": json_values,
            "manifests": json_values,
            "mediaType": json_values,
        },
    )
)
def test_any_json_gives_a_manifest_or_our_error(body: dict[str, object]) -> None:
    try:
        manifest = parsed(body)
    except Invalid:
        return

    assert manifest.media_type in (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST)


def test_deeply_nested_json_is_refused_and_not_followed() -> None:
    with pytest.raises(Invalid):
        parse_manifest(b'{"schemaVersion":2,"x":' + b"[" * 200_000, None)


def test_a_media_type_is_read_without_its_parameters() -> None:
    assert plain_media_type("A/B; charset=utf-8") == "a/b"
    assert plain_media_type("") is None
    assert plain_media_type(None) is None


def test_the_artifact_type_is_the_manifests_own_before_that_of_its_config() -> None:
    assert parsed(image(artifactType="x/y", annotations={"k": "v"})).artifact_type == "x/y"
    assert parsed(image(artifactType="x/y", annotations={"k": "v"})).annotations == {"k": "v"}
    assert parsed(index(artifactType="x/y")).artifact_type == "x/y"
