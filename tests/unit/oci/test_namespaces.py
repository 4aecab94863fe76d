from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.core.errors import Invalid
from kraken.oci.namespaces import MirroredName, Namespace, mirrored_name
from kraken.oci.references import RepositoryName


@pytest.mark.parametrize(
    ("registry", "component"),
    [
        ("docker.io", "docker.io"),
        ("Registry.Example", "registry.example"),
        ("host:5000", "host_5000"),
        ("registry.k8s.io:443", "registry.k8s.io_443"),
        ("10.0.0.1:5000", "10.0.0.1_5000"),
        ("localhost", "localhost"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_a_registry_is_the_first_component_of_a_repository(registry: str, component: str) -> None:
    namespace = Namespace.parse(registry)

    assert namespace.text == component
    assert namespace.registry == registry.lower()
    assert RepositoryName(f"{namespace}/team/app").text == f"{component}/team/app"


@pytest.mark.parametrize(
    "registry",
    [
        "", "library", "host_5000", "host:", "host:0", "host:05", "host:65536", "host:5000:1", "[::1]:5000", "::1",
        "docker.io.", ".docker.io", "docker..io", "-docker.io", "docker.io/library", "docker io", "docker.io\n",
        "a." * 70 + "io", "bücher.example", "../etc", "user@docker.io",
    ],
)  # fmt: skip
def test_what_is_no_registry_is_refused(registry: str) -> None:
    with pytest.raises(Invalid):
        Namespace.parse(registry)


@given(st.text(max_size=40))
def test_any_text_is_a_namespace_that_can_begin_a_name_or_is_refused(text: str) -> None:
    try:
        namespace = Namespace.parse(text)
    except Invalid:
        return
    assert mirrored_name(RepositoryName(f"{namespace}/a/b")) == MirroredName(namespace, RepositoryName("a/b"))


@given(st.from_regex(r"[a-z0-9]{1,3}(\.[a-z0-9]{1,3}){1,2}(:[1-9][0-9]{0,3})?", fullmatch=True))
def test_the_rule_can_be_turned_around(registry: str) -> None:
    assert Namespace.parse(registry).registry == registry


@pytest.mark.parametrize(
    ("local", "registry", "there"),
    [
        ("docker.io/library/alpine", "docker.io", "library/alpine"),
        ("docker.io/alpine", "docker.io", "library/alpine"),
        ("ghcr.io/app", "ghcr.io", "app"),
        ("host_5000/team/app", "host:5000", "team/app"),
    ],
)
def test_a_mirrored_repository_tells_where_it_comes_from(local: str, registry: str, there: str) -> None:
    name = mirrored_name(RepositoryName(local))

    assert name == MirroredName(Namespace.parse(registry), RepositoryName(there))
    assert str(name) == f"{registry}/{there}"


def test_the_short_names_of_docker_hub_are_one_repository_with_the_long_ones() -> None:
    short, long = (mirrored_name(RepositoryName(name)) for name in ("docker.io/alpine", "docker.io/library/alpine"))

    assert short == long
    assert short is not None
    assert short.local == RepositoryName("docker.io/library/alpine")


@pytest.mark.parametrize("local", ["alpine", "library/alpine", "team/docker.io/app", "docker.io", "a__b/c", "host_x/c"])
def test_other_repositories_belong_to_no_registry(local: str) -> None:
    assert mirrored_name(RepositoryName(local)) is None
