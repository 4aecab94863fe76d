"""Names of repositories, ours and those of other registries."""

from __future__ import annotations

import pytest

from kraken.core.errors import Invalid
from kraken.oci.mirroring import Mirroring, MirroringSettings
from kraken.oci.references import RepositoryName

RULES = Mirroring(MirroringSettings(("docker.io", "host:5000"), default="docker.io", own_names=("kraken.example",)))


def name(text: str) -> RepositoryName:
    return RepositoryName(text)


@pytest.mark.parametrize(
    ("repository", "ns", "here"),
    [
        ("team/app", None, "team/app"),
        ("team/app", "kraken.example", "team/app"),
        ("library/alpine", "docker.io", "docker.io/library/alpine"),
        ("alpine", "docker.io", "docker.io/library/alpine"),
        ("docker.io/alpine", None, "docker.io/library/alpine"),
        ("app", "host:5000", "host_5000/app"),
        ("app", "HOST:5000", "host_5000/app"),
        ("app", "host", None),
        ("app", "quay.io", None),
        ("app", "", None),
        ("app", "a b", None),
        ("a" * 250, "docker.io", None),
    ],
)
def test_a_repository_is_called_here_by_its_registry_and_its_name(
    repository: str, ns: str | None, here: str | None
) -> None:
    assert RULES.named(name(repository), ns) == (None if here is None else name(here))


def test_what_names_no_registry_may_be_at_the_default_upstream() -> None:
    assert RULES.candidates(name("alpine")) == [name("alpine"), name("docker.io/library/alpine")]
    assert RULES.candidates(name("host_5000/app")) == [name("host_5000/app")]
    assert RULES.candidates(name("quay.io/app")) == [name("quay.io/app"), name("docker.io/quay.io/app")]
    assert RULES.candidates(name("a" * 250)) == [name("a" * 250)]
    assert Mirroring(MirroringSettings()).candidates(name("alpine")) == [name("alpine")]


def test_only_what_begins_with_a_mirrored_registry_is_mirrored() -> None:
    mirrored = ["docker.io/library/alpine", "host_5000/app"]
    others = ["library/alpine", "quay.io/app", "docker.io"]
    assert [it for it in (*mirrored, *others) if RULES.is_mirrored(name(it))] == mirrored


@pytest.mark.parametrize("settings", [{"upstreams": ("a b",)}, {"upstreams": (), "default": "docker.io"}])
def test_settings_that_contradict_themselves_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        MirroringSettings(**settings)  # type: ignore[arg-type] # its own fields
