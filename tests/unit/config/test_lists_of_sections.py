from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kraken.config.describe import as_markdown, as_text
from kraken.config.loader import load
from kraken.config.schema import schema_of
from kraken.config.sources import from_node, read_yaml
from kraken.core.errors import BadConfig, Invalid
from kraken.core.settings import REQUIRED, Unit, setting


@dataclass(frozen=True, slots=True)
class RetrySettings:
    first_seconds: float = setting(1.0, unit=Unit.SECONDS, low=0.1, meaning="The first pause.")
    last_seconds: float = setting(60.0, unit=Unit.SECONDS, meaning="The longest pause.")

    def __post_init__(self) -> None:
        if self.first_seconds > self.last_seconds:
            raise Invalid(f"first_seconds {self.first_seconds} is above last_seconds {self.last_seconds}")


@dataclass(frozen=True, slots=True)
class MirrorSettings:
    host: str = setting(REQUIRED, meaning="Where it is.")


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    name: str = setting(REQUIRED, meaning="How paths call it.")
    url: str = setting(REQUIRED, meaning="Where it is.")
    ports: tuple[int, ...] = setting((), low=1, meaning="Its ports.")
    retry: RetrySettings = setting(lambda: RetrySettings(last_seconds=30.0), meaning="Pauses.")
    mirrors: tuple[MirrorSettings, ...] = setting((), meaning="The same elsewhere.")

    def __post_init__(self) -> None:
        if not self.url.startswith("https://"):
            raise Invalid(f"url {self.url} should begin with https://")


@dataclass(frozen=True, slots=True)
class PullSettings:
    upstreams: tuple[UpstreamSettings, ...] = setting((), meaning="Where pulls go.")

    def __post_init__(self) -> None:
        names = [upstream.name for upstream in self.upstreams]
        if len(set(names)) < len(names):
            raise Invalid(f"two upstreams have one name: {names}")


@dataclass(frozen=True, slots=True)
class ProxySettings:
    pull: PullSettings = setting(PullSettings, meaning="Pulls.")


def write(tmp_path: Path, upstreams: str) -> Path:
    """A file whose list of upstreams begins in its fourth line."""
    path = tmp_path / "proxy.yaml"
    path.write_text(f"component: proxy\npull:\n  upstreams:\n{upstreams}")
    return path


def read(path: Path, environ: dict[str, str] | None = None) -> tuple[UpstreamSettings, ...]:
    return load("proxy", ProxySettings, path, environ or {}).pull.upstreams


def problems(path: Path, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(BadConfig) as caught:
        load("proxy", ProxySettings, path, environ or {})
    return str(caught.value).splitlines()


TWO = """\
  - name: docker.io
    url: https://registry-1.docker.io
    retry: {first_seconds: 500ms}
    mirrors:
      - host: m1
      - host: m2
  - {name: quay, url: "https://quay.io", ports: [443, 8443]}
"""


def test_each_mapping_of_the_list_becomes_a_settings_object(tmp_path: Path) -> None:
    assert read(write(tmp_path, TWO)) == (
        UpstreamSettings(
            "docker.io",
            "https://registry-1.docker.io",
            retry=RetrySettings(0.5, 30.0),
            mirrors=(MirrorSettings("m1"), MirrorSettings("m2")),
        ),
        UpstreamSettings("quay", "https://quay.io", ports=(443, 8443), retry=RetrySettings(last_seconds=30.0)),
    )


def test_a_list_that_is_not_there_is_empty_as_is_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "proxy.yaml"
    path.write_text("component: proxy\n")

    assert read(path) == ()
    assert read(write(tmp_path, "    []\n")) == ()


@pytest.mark.parametrize(
    ("upstreams", "message"),
    [
        (
            "  - name: a\n    url: https://a\n    prots: 1\n",
            "6: unknown key pull.upstreams[0].prots; did you mean pull.upstreams[0].ports?",
        ),
        (
            "  - name: a\n    url: https://a\n    mirrors: [{hots: b, host: c}]\n",
            "6: unknown key pull.upstreams[0].mirrors[0].hots; did you mean pull.upstreams[0].mirrors[0].host?",
        ),
        ("  - name: a\n    url: https://a\n  - name: b\n", "6: pull.upstreams[1].url must be set: Where it is."),
        (
            "  - name: a\n    url: https://a\n    mirrors:\n    - {}\n",
            "7: pull.upstreams[0].mirrors[0].host must be set: Where it is.",
        ),
        ("  - name: a\n    name: b\n    url: https://a\n", "5: the key name is here a second time"),
        (
            "  - name: a\n    url: https://a\n    ports: [1, x]\n",
            "6: pull.upstreams[0].ports is 'x'; it should be list of whole number",
        ),
        (
            "  - name: [a]\n    url: https://a\n",
            "4: pull.upstreams[0].name is a list; it should be text",
        ),
        ("  - name:\n    url: https://a\n", "4: pull.upstreams[0].name has no value; it should be text"),
        ("  - name: a\n    url: http://a\n", "4: pull.upstreams[0]: url http://a should begin with https://"),
        (
            "  - name: a\n    url: https://a\n    retry:\n      first_seconds: 1m\n",
            "6: pull.upstreams[0].retry: first_seconds 60.0 is above last_seconds 30.0",
        ),
        (
            "  - {name: a, url: 'https://a'}\n  - {name: a, url: 'https://b'}\n",
            "2: pull: two upstreams have one name: ['a', 'a']",
        ),
        ("    name: a\n", "3: pull.upstreams should be a list, each item of which has keys of its own"),
        ("    docker.io\n", "3: pull.upstreams should be a list, each item of which has keys of its own"),
        ("\n", "3: pull.upstreams has no value; it should be list of sections"),
        (
            "  - name: a\n    url: https://a\n    retry:\n    - first_seconds: 1\n",
            "6: pull.upstreams[0].retry should have keys of its own beneath it",
        ),
        (
            "  - name: a\n    url: https://a\n    ports: {http: 1}\n",
            "6: pull.upstreams[0].ports should be a plain value or a list of plain values",
        ),
    ],
)
def test_a_mistake_in_a_section_has_its_line_and_its_whole_key(tmp_path: Path, upstreams: str, message: str) -> None:
    path = write(tmp_path, upstreams)

    assert problems(path) == [f"{path}:{message}"]


def test_an_item_that_is_no_mapping_has_its_line_and_number(tmp_path: Path) -> None:
    path = write(tmp_path, "  - docker.io\n  - [a]\n")

    assert problems(path)[:2] == [
        f"{path}:4: pull.upstreams[0] should have keys of its own",
        f"{path}:5: pull.upstreams[1] should have keys of its own",
    ]


def test_what_is_wrong_with_one_section_does_not_hide_what_is_with_another(tmp_path: Path) -> None:
    path = write(tmp_path, "  - {name: a, url: 'http://a'}\n  - {name: b}\n  - {name: c, url: 'http://c'}\n")

    assert problems(path) == [
        f"{path}:4: pull.upstreams[0]: url http://a should begin with https://",
        f"{path}:5: pull.upstreams[1].url must be set: Where it is.",
        f"{path}:6: pull.upstreams[2]: url http://c should begin with https://",
    ]


@pytest.mark.parametrize("name", ["KRAKEN_PULL__UPSTREAMS", "KRAKEN_PULL__UPSTREAMS__0__NAME"])
def test_a_variable_cannot_set_sections_and_is_told_where_they_go(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, TWO)

    assert problems(path, {name: "a"}) == [
        f"{name}: pull.upstreams is a list of sections; write it in the file, under pull.upstreams"
    ]


def test_a_variable_that_only_looks_like_a_list_of_sections_is_unknown(tmp_path: Path) -> None:
    (problem,) = problems(write(tmp_path, TWO), {"KRAKEN_PULL__UPSTREAMSX": "a"})

    assert problem.startswith("unknown environment variable KRAKEN_PULL__UPSTREAMSX;")


def test_what_was_written_survives_being_written_again(tmp_path: Path) -> None:
    path = write(tmp_path, TWO)
    given = from_node(_section(path), str(path), schema_of(PullSettings)).values[("upstreams",)]

    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump({"component": "proxy", "pull": {"upstreams": given.text}}))

    assert read(again) == read(path)


def _section(path: Path) -> yaml.MappingNode:
    node = next(value for key, value in read_yaml(path).value if key.value == "pull")
    assert isinstance(node, yaml.MappingNode)
    return node


def test_the_keys_of_a_section_are_documented_under_their_list() -> None:
    rows = as_markdown("proxy", ProxySettings).splitlines()[5:]

    assert rows == [
        "| `pull.upstreams` | list of sections |  | `[]` | Where pulls go. |",
        "| `pull.upstreams[].name` | text |  | `(must be set)` | How paths call it. |",
        "| `pull.upstreams[].url` | text |  | `(must be set)` | Where it is. |",
        "| `pull.upstreams[].ports` | list of whole number |  | `[]` | Its ports. At least 1. |",
        "| `pull.upstreams[].retry.first_seconds` | number | seconds | `1s` | The first pause. At least 100ms. |",
        "| `pull.upstreams[].retry.last_seconds` | number | seconds | `30s` | The longest pause. |",
        "| `pull.upstreams[].mirrors` | list of sections |  | `[]` | The same elsewhere. |",
        "| `pull.upstreams[].mirrors[].host` | text |  | `(must be set)` | Where it is. |",
    ]


def test_a_required_setting_that_the_class_around_gives_need_not_be_set(tmp_path: Path) -> None:
    @dataclass(frozen=True, slots=True)
    class AgentSettings:
        mirror: MirrorSettings = setting(lambda: MirrorSettings("m1"), meaning="A mirror.")

    path = tmp_path / "agent.yaml"
    path.write_text("component: agent\n")

    assert load("agent", AgentSettings, path, {}) == AgentSettings(MirrorSettings("m1"))


def test_the_text_form_says_that_no_variable_sets_them() -> None:
    text = as_text("proxy", ProxySettings)

    assert "pull.upstreams: []\n    (list of sections, in a file only)\n" in text
    assert "pull.upstreams[].name: (must be set)\n    (text, in a file only)\n" in text


_YAML = st.recursive(
    st.none() | st.sampled_from(["a", "https://a", "1s", "5"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "url", "ports", "retry", "mirrors", "host"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(upstreams=_YAML)
def test_any_tree_gives_settings_or_an_error_of_ours(tmp_path_factory: pytest.TempPathFactory, upstreams: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any-upstreams.yaml"
    path.write_text(yaml.safe_dump({"component": "proxy", "pull": {"upstreams": upstreams}}))

    with contextlib.suppress(BadConfig):
        assert len(read(path)) == len(upstreams)  # only a list is admitted
