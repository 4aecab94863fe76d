"""How repositories of other registries are called in this cluster.

    what a client means       `?ns=`          repository here
    docker.io/library/alpine  docker.io       docker.io/library/alpine
    host:5000/team/app        host:5000       host_5000/team/app

A colon cannot stand in a repository name, and an underscore cannot stand in the name of a host: so the rule can be
turned around, and no two registries share a name. Like docker, this takes the first component of a name for a
registry when it has a dot or a port or is `localhost`; `library/alpine` belongs to nobody else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kraken.core.errors import Invalid
from kraken.oci.references import RepositoryName

_LABEL = "[a-z0-9]+(?:-+[a-z0-9]+)*"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_MAX_LENGTH = 128
"""Characters: enough for a host and its port, and room for the repository behind it."""

_DOCKER_HUB = "docker.io"


@dataclass(frozen=True, slots=True, order=True)
class Namespace:
    """A registry as the first component of a repository name: `docker.io`, or `host_5000` for one with a port."""

    text: str

    def __post_init__(self) -> None:
        host, underscore, port = self.text.partition("_")
        if len(self.text) > _MAX_LENGTH or not _HOST.fullmatch(host):
            raise Invalid(f"{self.text[:_MAX_LENGTH]!r} is not the name of a registry: a host, perhaps with its port")
        if underscore and not (_PORT.fullmatch(port) and int(port) <= 65535):
            raise Invalid(f"{port[:20]!r} in {self.text!r} is not a port")
        if not underscore and "." not in host and host != "localhost":
            raise Invalid(f"{host!r} could be any repository: a registry has a dot or a port, or is localhost")

    def __str__(self) -> str:
        return self.text

    @property
    def registry(self) -> str:
        """The registry as image names have it: `host:5000`."""
        return self.text.replace("_", ":")

    @classmethod
    def parse(cls, registry: str) -> Namespace:
        """Admit the name of a registry, as `?ns=` or an image name has it: a host, and perhaps a port.

        Raises: Invalid, when it is neither; an IPv6 address among them, which no repository name can hold.
        """
        if "_" in registry:
            raise Invalid(f"{registry[:_MAX_LENGTH]!r} is not the name of a registry: no host has an underscore")
        return cls(registry.lower().replace(":", "_", 1))


@dataclass(frozen=True, slots=True, order=True)
class MirroredName:
    """A repository of another registry."""

    namespace: Namespace
    repository: RepositoryName

    @property
    def local(self) -> RepositoryName:
        """What it is called in this cluster. Raises: Invalid, when that is longer than a name may be."""
        return RepositoryName(f"{self.namespace}/{self.repository}")

    def __str__(self) -> str:
        return f"{self.namespace.registry}/{self.repository}"


def mirrored_name(name: RepositoryName) -> MirroredName | None:
    """What a repository of this cluster is called where it comes from; None when its name begins with no registry.

    One component at Docker Hub is short for `library/...`, as every client of it has it.
    """
    first, slash, rest = name.text.partition("/")
    if not slash:
        return None
    try:
        namespace = Namespace(first)
    except Invalid:
        return None
    if first == _DOCKER_HUB and "/" not in rest:
        rest = f"library/{rest}"
    return MirroredName(namespace, RepositoryName(rest))
