from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.config.loader import component_of, load
from kraken.core.errors import BadConfig, Invalid
from kraken.core.peers import Address
from kraken.core.settings import Unit, setting


@dataclass(frozen=True, slots=True)
class CacheSettings:
    max_bytes: int = setting(1024, unit=Unit.BYTES, meaning="At most this much.")
    low_water: float = setting(0.8, unit=Unit.FRACTION, meaning="Evict down to this.")
    high_water: float = setting(0.9, unit=Unit.FRACTION, meaning="Evict from this on.")

    def __post_init__(self) -> None:
        if self.low_water > self.high_water:
            raise Invalid(f"low_water {self.low_water} is above high_water {self.high_water}")


@dataclass(frozen=True, slots=True)
class AgentSettings:
    name: str = setting("agent", meaning="Its name.")
    peers: tuple[Address, ...] = setting((), meaning="Others.")
    cache: CacheSettings = setting(lambda: CacheSettings(high_water=0.92), meaning="The cache.")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    return path


def problems(path: Path, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(BadConfig) as caught:
        load("agent", AgentSettings, path, environ or {})
    return str(caught.value).splitlines()


def test_a_file_that_only_names_its_component_gives_the_defaults(tmp_path: Path) -> None:
    assert load("agent", AgentSettings, write(tmp_path, "component: agent\n"), {}) == AgentSettings()


def test_the_file_mirrors_the_nesting_of_the_classes(tmp_path: Path) -> None:
    path = write(tmp_path, "component: agent\nname: a1\npeers: [h:1, 'i:2']\ncache:\n  max_bytes: 64MiB\n")

    settings = load("agent", AgentSettings, path, {})

    assert settings == AgentSettings(
        "a1", (Address("h", 1), Address("i", 2)), CacheSettings(64 * 2**20, high_water=0.92)
    )


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "component: agent\nname: a1\n")
    environ = {"KRAKEN_NAME": "a2", "KRAKEN_CACHE__MAX_BYTES": "2KiB", "KRAKEN_PEERS": "h:1, i:2", "HOME": "/root"}

    settings = load("agent", AgentSettings, path, environ)

    assert settings == AgentSettings("a2", (Address("h", 1), Address("i", 2)), CacheSettings(2048, high_water=0.92))


def test_what_the_outer_class_wants_of_a_section_is_its_default(tmp_path: Path) -> None:
    path = write(tmp_path, "component: agent\ncache: {max_bytes: 5}\n")

    settings = load("agent", AgentSettings, path, {})

    assert settings.cache == CacheSettings(max_bytes=5, high_water=0.92)


def test_an_unknown_key_is_told_with_line_and_the_nearest_valid_key(tmp_path: Path) -> None:
    path = write(tmp_path, "component: agent\ncache:\n  max_bites: 5\n")

    assert problems(path) == [f"{path}:3: unknown key cache.max_bites; did you mean cache.max_bytes?"]


def test_a_known_key_in_the_wrong_place_is_told_its_place(tmp_path: Path) -> None:
    path = write(tmp_path, "component: agent\nmax_bytes: 5\n")

    assert problems(path) == [f"{path}:2: unknown key max_bytes; did you mean cache.max_bytes?"]


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "component: agent\nnane: x\ncache:\n  max_bytes: lots\n  max_bytes: 5\npeers: [nowhere]\n")

    found = problems(path, {"KRAKEN_CACHE__LOW_WATTER": "1"})

    assert [line.split(" ")[0] for line in found[:2]] == [f"{path}:2:", f"{path}:5:"]
    assert found[2] == "unknown environment variable KRAKEN_CACHE__LOW_WATTER; did you mean KRAKEN_CACHE__LOW_WATER?"
    assert found[3].startswith(f"{path}:6: peers should be host:port")
    assert found[4].startswith(f"{path}:4: cache.max_bytes is 'lots'")


def test_a_duplicate_key_is_a_problem(tmp_path: Path) -> None:
    path = write(tmp_path, "component: agent\nname: a\nname: b\n")

    assert problems(path) == [f"{path}:3: the key name is here a second time"]


def test_a_wrong_value_of_a_variable_names_the_variable(tmp_path: Path) -> None:
    path = write(tmp_path, "component: agent\n")

    found = problems(path, {"KRAKEN_CACHE__MAX_BYTES": "many"})

    assert found[0].startswith("KRAKEN_CACHE__MAX_BYTES: cache.max_bytes is 'many'")


def test_a_rule_over_several_settings_is_told_with_their_section(tmp_path: Path) -> None:
    path = write(tmp_path, "component: agent\ncache: {low_water: 95%}\n")

    assert problems(path) == [f"{path}:2: cache: low_water 0.95 is above high_water 0.92"]


def test_a_rule_that_only_variables_break_is_told_without_a_line(tmp_path: Path) -> None:
    path = write(tmp_path, "component: agent\n")

    assert problems(path, {"KRAKEN_CACHE__LOW_WATER": "95%"}) == ["cache: low_water 0.95 is above high_water 0.92"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\n", ":1: the key component is missing; it should be agent"),
        ("\n\ncomponent: origin\n", ":3: component is 'origin'; this command wants agent"),
        ("component: agent\ncache: 5\n", ":2: cache should have keys of its own beneath it"),
        ("component: agent\nname: {a: b}\n", ":2: name should be a plain value or a list of plain values"),
        ("component: agent\nname:\n", ":2: name has no value; it should be text"),
        ("component: agent\n? [a, b]\n: c\n", ":2: a key should be a plain word"),
    ],
)
def test_other_mistakes_in_a_file_have_their_line_too(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)

    assert problems(path) == [f"{path}{message}"]


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words", "a: [", "a: b: c", "\x00", "!!python/object:os.system x"])
def test_what_is_no_mapping_is_one_clear_line(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)

    (line,) = problems(path)

    assert line.startswith(f"{path}:")


def test_a_file_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    assert problems(tmp_path / "none.yaml") == [f"cannot read {tmp_path / 'none.yaml'}: No such file or directory"]


def test_a_file_tells_which_component_it_is_for(tmp_path: Path) -> None:
    assert component_of(write(tmp_path, "name: x\ncomponent: agent\n"), ["agent", "origin"]) == "agent"
    with pytest.raises(BadConfig, match="did you mean agent"):
        component_of(write(tmp_path, "component: agnet\n"), ["agent", "origin"])


@given(data=st.binary(max_size=200))
def test_any_bytes_give_settings_or_an_error_of_ours(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)

    with contextlib.suppress(BadConfig):
        assert load("agent", AgentSettings, path, {}).name
