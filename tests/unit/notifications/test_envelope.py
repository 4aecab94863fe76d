from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.helpers.events import NOON, REQUEST, SOURCE, an_event, events_in

from kraken.core.digest import Digest
from kraken.core.errors import Invalid
from kraken.notifications.envelope import (
    MAX_REFERENCES,
    MAX_TEXT,
    Action,
    RegistryEvent,
    RequestRecord,
    encode_event,
    envelope,
)
from kraken.oci.manifests import OCI_MANIFEST, Descriptor
from kraken.oci.references import RepositoryName, Tag

DIGEST = Digest.of(b"manifest")
LAYER = Descriptor(Digest.of(b"layer"), "application/vnd.oci.image.layer.v1.tar+gzip", 1234)


def told(event: RegistryEvent) -> dict[str, Any]:
    (only,) = events_in(envelope([encode_event(event, "event-1", SOURCE)]))
    return only


def test_a_push_of_a_manifest_is_told_as_dockers_registry_tells_it() -> None:
    event = RegistryEvent(
        Action.PUSH,
        RepositoryName("team/app"),
        NOON,
        REQUEST,
        digest=DIGEST,
        tag=Tag("v1"),
        media_type=OCI_MANIFEST,
        size=525,
        path=f"/v2/team/app/manifests/{DIGEST}",
        references=(LAYER,),
        actor="anna",
    )

    assert json.dumps(told(event)) == json.dumps(  # the order of the fields is part of it
        {
            "id": "event-1",
            "timestamp": "2025-03-01T12:00:00.250000Z",
            "action": "push",
            "target": {
                "mediaType": OCI_MANIFEST,
                "digest": str(DIGEST),
                "size": 525,
                "length": 525,
                "repository": "team/app",
                "url": f"https://registry.example/v2/team/app/manifests/{DIGEST}",
                "tag": "v1",
                "references": [{"mediaType": LAYER.media_type, "digest": str(LAYER.digest), "size": 1234}],
            },
            "request": {
                "id": "request-1",
                "addr": "10.0.0.7:40112",
                "host": "registry.example",
                "method": "PUT",
                "useragent": "docker/27",
            },
            "actor": {"name": "anna"},
            "source": {"addr": "proxy-1:5000", "instanceID": "instance-1"},
        }
    )


def test_a_mount_tells_the_repository_that_the_blob_came_from() -> None:
    target = told(an_event(action=Action.MOUNT))["target"]

    assert (target["repository"], target["fromRepository"]) == ("team/app", "other/app")


@pytest.mark.parametrize(
    ("digest", "tag", "named"),
    [(DIGEST, None, {"digest": str(DIGEST)}), (None, Tag("v1"), {"tag": "v1"})],
)
def test_a_delete_tells_what_is_gone_and_nothing_else(
    digest: Digest | None, tag: Tag | None, named: dict[str, str]
) -> None:
    event = replace(an_event(action=Action.DELETE), digest=digest, tag=tag, references=(LAYER,))

    assert told(event)["target"] == {"repository": "team/app"} | named


def test_what_is_not_known_is_left_out_but_for_three_fields_of_the_request() -> None:
    bare = RegistryEvent(
        Action.PULL, RepositoryName("app"), NOON, RequestRecord("", "", "http", "", "", ""), digest=DIGEST
    )

    only = told(bare)

    assert only["target"] == {"digest": str(DIGEST), "repository": "app"}
    assert only["request"] == {"id": "", "method": "", "useragent": ""}
    assert only["actor"] == {}


def test_a_manifest_that_refers_to_very_much_is_told_without_it() -> None:
    allowed = replace(an_event(), references=(LAYER,) * MAX_REFERENCES)

    assert len(told(allowed)["target"]["references"]) == MAX_REFERENCES
    assert "references" not in told(replace(allowed, references=(LAYER,) * (MAX_REFERENCES + 1)))["target"]


def test_the_largest_event_is_small() -> None:
    most = "\N{PILE OF POO}" * 100_000
    long = replace(REQUEST, id=most, address=most, host=most, method=most, user_agent=most)
    reference = replace(LAYER, media_type="x" * 255)
    event = replace(an_event(), request=long, actor=most, media_type=most, references=(reference,) * MAX_REFERENCES)

    assert len(encode_event(event, "event-1", SOURCE)) < 400 * 1024


@given(text=st.text(st.characters(exclude_categories=()), max_size=2 * MAX_TEXT))
@example("\udcff")  # what aiohttp makes of a byte that is no UTF-8
def test_any_text_of_a_client_can_be_told(text: str) -> None:
    event = replace(an_event(), request=replace(REQUEST, user_agent=text, host=text), actor=text)

    only = told(event)

    assert len(only["request"]["useragent"]) <= MAX_TEXT
    assert only["request"]["useragent"] == text[:MAX_TEXT].encode(errors="replace").decode()


@pytest.mark.parametrize(
    ("action", "digest", "tag", "from_repository"),
    [
        (Action.PUSH, None, Tag("v1"), None),
        (Action.DELETE, None, None, None),
        (Action.MOUNT, DIGEST, None, None),
        (Action.PUSH, DIGEST, None, RepositoryName("other/app")),
    ],
)
def test_an_event_that_would_mislead_cannot_be_made(
    action: Action, digest: Digest | None, tag: Tag | None, from_repository: RepositoryName | None
) -> None:
    with pytest.raises(Invalid, match=action.value):
        replace(an_event(), action=action, digest=digest, tag=tag, from_repository=from_repository)


def test_an_envelope_holds_its_events_in_order() -> None:
    body = envelope([encode_event(an_event(number), f"event-{number}", SOURCE) for number in (3, 1, 2)])

    assert [event["id"] for event in events_in(body)] == ["event-3", "event-1", "event-2"]
