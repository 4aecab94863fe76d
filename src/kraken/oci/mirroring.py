"""Which names of a registry's clients belong to other registries, and what those are called here.

A client says `?ns=docker.io`, as containerd does; or names `docker.io/library/alpine`; or, as dockerd does of a mirror,
says nothing, and then what is not ours belongs to the default upstream.
"""

from __future__ import annotations

from dataclasses import dataclass

from kraken.core.errors import Invalid
from kraken.core.settings import Unit, setting
from kraken.oci.namespaces import Namespace, mirrored_name
from kraken.oci.references import RepositoryName


@dataclass(frozen=True, slots=True)
class MirroringSettings:
    """The registries whose names are known here. The origins have their addresses and credentials."""

    upstreams: tuple[str, ...] = setting(
        (), meaning="Names of registries that the origins mirror, such as docker.io or host:5000."
    )
    default: str | None = setting(
        None,
        meaning="The one of them that a name belongs to which is unknown here and names none: docker.io, for dockerd's "
        "--registry-mirror.",
    )
    own_names: tuple[str, ...] = setting(
        (), meaning="Names under which clients know this registry itself: ?ns= with one of them changes nothing."
    )
    patience_seconds: float = setting(
        300.0,
        unit=Unit.SECONDS,
        low=0,
        meaning="A client waits so long for a blob that the origins are fetching; then it is told to come again.",
    )

    def __post_init__(self) -> None:
        for name in self.upstreams:
            Namespace.parse(name)
        if self.default is not None and self.default not in self.upstreams:
            raise Invalid(f"default is {self.default!r}, which upstreams does not name")


class Mirroring:
    """The rules of names, read from settings."""

    def __init__(self, settings: MirroringSettings) -> None:
        self._namespaces = {Namespace.parse(name) for name in settings.upstreams}
        self._default = None if settings.default is None else Namespace.parse(settings.default)
        self._own_names = frozenset(settings.own_names)

    def is_mirrored(self, repository: RepositoryName) -> bool:
        """Whether a repository of this cluster comes from an upstream."""
        name = mirrored_name(repository)
        return name is not None and name.namespace in self._namespaces

    def named(self, repository: RepositoryName, ns: str | None) -> RepositoryName | None:
        """What is called `repository` at the registry `ns`, as it is called here; None when `ns` is not mirrored."""
        if ns is None or ns in self._own_names:
            return _full(repository)
        try:
            namespace = Namespace.parse(ns)
            return _full(RepositoryName(f"{namespace}/{repository}")) if namespace in self._namespaces else None
        except Invalid:
            return None

    def candidates(self, repository: RepositoryName) -> list[RepositoryName]:
        """Where a repository may be found: as it is called, and then at the default upstream."""
        if self._default is None or self.is_mirrored(repository):
            return [repository]
        try:
            return [repository, _full(RepositoryName(f"{self._default}/{repository}"))]
        except Invalid:
            return [repository]


def _full(repository: RepositoryName) -> RepositoryName:
    """The name in full: `docker.io/alpine` is `docker.io/library/alpine`."""
    name = mirrored_name(repository)
    return repository if name is None else name.local
