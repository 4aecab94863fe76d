from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kraken.config.loader import load
from kraken.core.errors import BadConfig, Invalid
from kraken.core.settings import setting
from kraken.notifications.envelope import Action
from kraken.notifications.settings import EndpointSettings, NotificationSettings, header_of

PAGE = Path(__file__).parents[3] / "docs" / "notifications.md"


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    notifications: NotificationSettings = setting(NotificationSettings, meaning="Webhooks.")


def read(tmp_path: Path, text: str) -> NotificationSettings:
    path = tmp_path / "proxy.yaml"
    path.write_text(f"component: proxy\nnotifications:\n{text}")
    return load("proxy", RegistrySettings, path, {}).notifications


def test_a_file_gives_endpoints(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        """\
  endpoints:
    - name: audit
      url: https://audit.example/events?from=registry
      secret_file: /etc/kraken/audit.secret
      headers: ["Authorization: Bearer a:b"]
      ignore_actions: []
    - {name: ci, url: "http://10.0.0.1:8080", timeout_seconds: 500ms, ignore_actions: [pull, delete]}
""",
    )

    assert settings.endpoints == (
        EndpointSettings(
            "audit",
            "https://audit.example/events?from=registry",
            secret_file=Path("/etc/kraken/audit.secret"),
            headers=("Authorization: Bearer a:b",),
            ignore_actions=(),
        ),
        EndpointSettings(
            "ci", "http://10.0.0.1:8080", timeout_seconds=0.5, ignore_actions=(Action.PULL, Action.DELETE)
        ),
    )


def test_the_documented_example_is_a_valid_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\nnotifications:\n(.*?)```", PAGE.read_text(), re.DOTALL)

    assert [endpoint.name for endpoint in read(tmp_path, example).endpoints] == ["audit", "ci"]


def test_two_endpoints_of_one_name_would_share_a_queue_and_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"proxy.yaml:2: notifications: two endpoints have the name a"):
        read(tmp_path, "  endpoints:\n    - {name: a, url: 'http://a'}\n    - {name: a, url: 'http://b'}\n")


def test_a_header_is_split_at_its_first_colon() -> None:
    assert header_of("Authorization:  Basic a:b ") == ("Authorization", "Basic a:b")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": "Audit"}, "name 'Audit' should be up to 63 lower-case letters"),
        ({"name": ""}, "name '' should be"),
        ({"name": "a" * 64}, "should be up to 63"),
        ({"url": "hook.example"}, "url 'hook.example' should be http://host"),
        ({"url": "ftp://hook.example"}, "should be http://host"),
        ({"url": "http://"}, "should be http://host"),
        ({"url": "http://hook:99999/"}, "should be http://host"),
        ({"url": "http://[::1/"}, "should be http://host"),
        ({"url": "http://hook/a b"}, "should be http://host"),
        ({"headers": ("Authorization",)}, "an entry of 13 characters that is not Name: value"),
        ({"headers": ("A: b\r\nC: d",)}, "an entry of 10 characters that is not Name: value"),
        ({"headers": ("Content-Type: text/plain",)}, "Content-Type, which Kraken itself sets"),
        ({"headers": ("X-A: 1", "x-a: 2")}, "headers has x-a twice"),
        ({"ignore_repositories": ("a(",)}, "ignore_repositories has 'a\\('"),
        ({"backoff_seconds": 5.0, "max_backoff_seconds": 4.0}, "backoff_seconds 5.0 is above max_backoff_seconds 4.0"),
    ],
)
def test_what_cannot_work_is_refused_with_its_value(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        EndpointSettings(**{"name": "hook", "url": "http://hook.example/"} | wrong)


def test_the_value_of_a_wrong_header_may_be_a_secret_and_is_not_told() -> None:
    with pytest.raises(Invalid) as caught:
        EndpointSettings("hook", "http://hook.example/", headers=("Authorization Bearer hunter2",))

    assert "hunter2" not in str(caught.value)
