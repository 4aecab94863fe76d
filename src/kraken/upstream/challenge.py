"""What a registry says when it wants to know who asks: the header WWW-Authenticate.

Sources: RFC 9110, section 11.6.1; RFC 6750, section 3; Docker Registry token authentication.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kraken.core.errors import Invalid

MAX_HEADER_CHARACTERS = 8192
"""Of all challenges of one answer together."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - the grammar's word for a word
# Some registries leave out the quotes where the grammar wants them, around URLs for example.
_PARAMETER = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCHEME = re.compile(rf"({_TOKEN})(?=[ \t,]|$)")
_BETWEEN = re.compile(r"[ \t,]*")
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Basic:
    """Wants a name and a password with each request."""

    realm: str


@dataclass(frozen=True, slots=True)
class Bearer:
    """Wants a token, which `realm` gives for `service` and `scope`. `error` says what is wrong with the one sent."""

    realm: str
    service: str
    scope: str
    error: str


Challenge = Basic | Bearer


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """The challenges of an answer that can be met, in their order; other schemes are left out.

    Args: headers, each WWW-Authenticate line; one line may hold several challenges.
    Raises: Invalid, when they are too long or cannot be read.
    """
    text = ", ".join(headers)
    if len(text) > MAX_HEADER_CHARACTERS:
        raise Invalid(f"{len(text)} characters of WWW-Authenticate; {MAX_HEADER_CHARACTERS} is the limit")
    known = (_known(scheme, parameters) for scheme, parameters in _read(text))
    return [challenge for challenge in known if challenge is not None]


def scope_to_ask(challenge: Bearer, repository: str) -> str:
    """The scope of a token that is good for reading a repository, and for nothing else.

    It is the challenge's own, because a registry may have other names for repositories than its URLs; of the rights
    in it only `pull` is asked for. A challenge without such a scope means the repository as we know it.
    """
    asked = (_pull_only(scope) for scope in challenge.scope.split())
    return " ".join(dict.fromkeys(filter(None, asked))) or f"repository:{repository}:pull"


def _read(text: str) -> list[tuple[str, dict[str, str]]]:
    """Each scheme, in lower case, with its parameters, whose names are in lower case."""
    found: list[tuple[str, dict[str, str]]] = []
    at = _skip(text, 0)
    while at < len(text):
        if match := _PARAMETER.match(text, at):
            if not found:
                raise Invalid(f"WWW-Authenticate begins with a parameter: {text[:80]!r}")
            _add(found[-1][1], match)
        elif match := _SCHEME.match(text, at):
            found.append((match[1].lower(), {}))
        else:
            raise Invalid(f"WWW-Authenticate cannot be read from {text[at : at + 80]!r}")
        at = _skip(text, match.end())
    return found


def _skip(text: str, at: int) -> int:
    match = _BETWEEN.match(text, at)
    return match.end() if match else at


def _add(parameters: dict[str, str], match: re.Match[str]) -> None:
    name = match[1].lower()
    if name in parameters:
        raise Invalid(f"WWW-Authenticate has two values for {name[:80]!r}")
    parameters[name] = match[3] if match[2] is None else _ESCAPED.sub(r"\1", match[2])


def _known(scheme: str, parameters: Mapping[str, str]) -> Challenge | None:
    realm = parameters.get("realm", "")
    if scheme == "basic":
        return Basic(realm)
    if scheme == "bearer" and realm:
        return Bearer(realm, parameters.get("service", ""), parameters.get("scope", ""), parameters.get("error", ""))
    return None


def _pull_only(scope: str) -> str | None:
    """`repository:NAME:pull` of a scope that has it among its rights. A name may hold a colon itself."""
    resource, _, actions = scope.rpartition(":")
    if "pull" not in actions.split(",") or not re.match(r"repository(\([^():]*\))?:.", resource):
        return None
    return f"{resource}:pull"
