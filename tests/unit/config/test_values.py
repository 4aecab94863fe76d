from __future__ import annotations

import contextlib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.config.schema import schema_of
from kraken.config.values import read, write
from kraken.core.errors import Invalid
from kraken.core.peers import Address
from kraken.core.settings import Unit, setting


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Everything:
    text: str = setting("x", meaning="Text.")
    count: int = setting(3, low=1, high=10, meaning="A count.")
    share: float = setting(0.5, unit=Unit.FRACTION, low=0, high=1, meaning="A share.")
    size: int = setting(64, unit=Unit.BYTES, meaning="A size.")
    wait: float = setting(5.0, unit=Unit.SECONDS, low=0, meaning="A time.")
    on: bool = setting(False, meaning="A switch.")
    colour: Colour = setting(Colour.RED, meaning="A choice.")
    host: Address = setting(Address("localhost", 1), meaning="A host.")
    hosts: tuple[Address, ...] = setting((), meaning="Hosts.")
    words: tuple[str, ...] = setting((), meaning="Words.")
    folder: Path = setting(Path("/var"), meaning="A folder.")
    maybe: int | None = setting(None, unit=Unit.BYTES, meaning="Perhaps a size.")


OPTIONS = {option.path: option for option in schema_of(Everything).options.values()}


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("text", "no", "no"),
        ("text", "1.10", "1.10"),
        ("count", "7", 7),
        ("share", "0.25", 0.25),
        ("share", "25%", 0.25),
        ("size", "1048576", 2**20),
        ("size", "64MiB", 64 * 2**20),
        ("size", "20 GiB", 20 * 2**30),
        ("size", "1.5KiB", 1536),
        ("wait", "5", 5.0),
        ("wait", "0.5", 0.5),
        ("wait", "250ms", 0.25),
        ("wait", "10s", 10.0),
        ("wait", "5m", 300.0),
        ("wait", "2h", 7200.0),
        ("on", "true", True),
        ("colour", "blue", Colour.BLUE),
        ("host", "[::1]:80", Address("[::1]", 80)),
        ("hosts", ("a:1", "b:2"), (Address("a", 1), Address("b", 2))),
        ("hosts", "a:1", (Address("a", 1),)),
        ("words", (), ()),
        ("folder", "/srv/kraken", Path("/srv/kraken")),
        ("maybe", None, None),
        ("maybe", "1MiB", 2**20),
    ],
)
def test_text_is_read_by_the_type_of_its_setting(key: str, text: Any, value: Any) -> None:
    assert read(OPTIONS[key], text) == value


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("count", "0", "is 0; it should be at least 1"),
        ("count", "11", "is 11; it should be at most 10"),
        ("count", "1.5", "should be a whole number"),
        ("count", "many", "should be whole number"),
        ("count", "5s", "should be whole number"),
        ("size", "64MB", "like 1048576 or 64MiB"),
        ("size", "1.0001KiB", "should be a whole number"),
        ("wait", "5 parsecs", "like 5, 0.5, 250ms"),
        ("wait", "-1", "should be at least 0s"),
        ("on", "yes", "should be true or false"),
        ("colour", "green", "should be one of red, blue"),
        ("host", "nowhere", "should be host:port"),
        ("host", "a:99999", "should be host:port"),
        ("folder", "", "should be a path"),
        ("text", None, "has no value"),
        ("text", ("a", "b"), "is a list"),
    ],
)
def test_a_wrong_value_is_told_with_what_it_should_be(key: str, text: Any, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(OPTIONS[key], text)

    assert words in str(caught.value)


@given(st.integers(0, 2**50))
def test_bytes_survive_being_written_and_read(size: int) -> None:
    assert read(OPTIONS["size"], write(OPTIONS["size"], size)) == size


@given(st.integers(0, 10**7))
def test_whole_seconds_survive_being_written_and_read(seconds: int) -> None:
    text = write(OPTIONS["wait"], float(seconds))

    assert read(OPTIONS["wait"], text) == pytest.approx(seconds, rel=1e-5)


@given(st.sampled_from(sorted(OPTIONS)), st.text())
def test_any_text_gives_a_value_or_an_error_of_ours(key: str, text: str) -> None:
    with contextlib.suppress(Invalid):
        assert read(OPTIONS[key], text) is not None
