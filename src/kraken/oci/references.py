"""How a manifest is named: a repository, and in it a tag or a digest.

A value of these types is well formed: it can be put into a URL, a header or a query as it is.
Source: OCI distribution specification 1.1, Pulling manifests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kraken.core.digest import Digest
from kraken.core.errors import Invalid

MAX_NAME_LENGTH = 255
"""Characters. Clients cap host + "/" + name at this, so a longer name can never be pulled."""

_ALPHANUMERIC = "[a-z0-9]+"
_COMPONENT = rf"{_ALPHANUMERIC}(?:(?:\.|_|__|-+){_ALPHANUMERIC})*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True, order=True)
class RepositoryName:
    """The name of a repository, such as `library/alpine`."""

    text: str

    def __post_init__(self) -> None:
        if len(self.text) > MAX_NAME_LENGTH:
            raise Invalid(f"a repository name of {len(self.text)} characters; {MAX_NAME_LENGTH} is the limit")
        if not _NAME.fullmatch(self.text):
            raise Invalid(f"{self.text!r} is not a repository name: lower-case letters, digits and ._-/ between them")

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    """A name that a person gave to a manifest, and may move to another one."""

    text: str

    def __post_init__(self) -> None:
        if not _TAG.fullmatch(self.text):
            raise Invalid(f"{self.text[:160]!r} is not a tag: up to 128 letters, digits and ._- not led by . or -")

    def __str__(self) -> str:
        return self.text


Reference = Tag | Digest


def parse_reference(text: str) -> Reference:
    """Admit a tag or a digest that came from outside; only a digest holds a colon.

    Raises: Invalid, when it is neither.
    """
    return Digest.parse(text) if ":" in text else Tag(text)
