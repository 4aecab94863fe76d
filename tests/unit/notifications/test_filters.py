from __future__ import annotations

from dataclasses import replace

import pytest
from tests.helpers.events import an_event

from kraken.notifications.envelope import Action
from kraken.notifications.filters import Filter
from kraken.notifications.settings import EndpointSettings

ENDPOINT = EndpointSettings("hook", "http://hook.example/")


def test_everything_but_pulls_is_wanted_unless_told_otherwise() -> None:
    wanted = [action for action in Action if Filter(ENDPOINT).wants(an_event(action=action))]

    assert wanted == [Action.PUSH, Action.MOUNT, Action.DELETE]


def test_pulls_are_wanted_when_no_action_is_ignored() -> None:
    assert Filter(replace(ENDPOINT, ignore_actions=())).wants(an_event(action=Action.PULL))


def test_ignored_media_types_are_whole_types() -> None:
    event = replace(an_event(), media_type="application/octet-stream")

    assert not Filter(replace(ENDPOINT, ignore_media_types=("application/octet-stream",))).wants(event)
    assert Filter(replace(ENDPOINT, ignore_media_types=("application/octet",))).wants(event)


@pytest.mark.parametrize(
    ("repository", "wanted"), [("ci/app", False), ("ci/a/b", False), ("team/ci/app", True), ("ci", True)]
)
def test_an_ignored_repository_matches_its_pattern_from_end_to_end(repository: str, wanted: bool) -> None:
    endpoint = replace(ENDPOINT, ignore_repositories=("never", "ci/.*"))

    assert Filter(endpoint).wants(an_event(repository=repository)) is wanted
