"""The words in which the table of requirements is written.

A requirement is a sentence and the requests that show it. Targets and headers may hold names in angle brackets:

    <name>, <other>   two repositories that nobody else uses
    <location>        what the last answer that had a Location told there
    <link>            where the last answer that had a Link leads
    <kept>            the <location> at the time of a step that says `.keeps("kept")`
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

LOCATION: Final = "<location>"
LINK: Final = "<link>"
UPLOADS: Final = "/v2/<name>/blobs/uploads/"
TAGS: Final = "/v2/<name>/tags/list"

NAME_LENGTH: Final = 7
"""Characters of what <name> and <other> stand for."""

Body = bytes | tuple[bytes, ...]
"""What is sent: bytes with their Content-Length, or parts in the chunked coding."""


@dataclass(frozen=True, slots=True)
class Matching:
    """A header whose whole text matches this regular expression."""

    pattern: str

    def met_by(self, text: str, names: Mapping[str, str]) -> bool:
        return re.fullmatch(filled(self.pattern, names), text) is not None


@dataclass(frozen=True, slots=True)
class OtherThan:
    """A header that says anything but this."""

    text: str

    def met_by(self, text: str, names: Mapping[str, str]) -> bool:
        return text != filled(self.text, names)


ANYTHING: Final = Matching(r".+")

HeaderWanted = str | Matching | OtherThan | None
"""A text to be equal to, something to be met, or None: the header must not be there."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an answer has to be. What is None, or not named among the headers, may be anything."""

    statuses: tuple[int, ...]
    body: bytes | None = None
    json: Any = None
    codes: tuple[str, ...] | None = None
    named: tuple[str, ...] | None = None
    headers: tuple[tuple[str, HeaderWanted], ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One request, and what it is to be answered."""

    method: str
    target: str
    body: Body = b""
    headers: tuple[tuple[str, str], ...] = ()
    wanted: Wanted = Wanted((200,))
    kept_as: str | None = None

    def gives(self, status: int, body: bytes | None = None, /, *, listing: Any = None, **headers: HeaderWanted) -> Step:
        """Answered so. Args: listing, what the body is as JSON; headers, `Content_Range` for Content-Range."""
        wanted = Wanted((status,), body, listing, headers=tuple((_dashed(it), text) for it, text in headers.items()))
        return replace(self, wanted=wanted)

    def fails(
        self, status: int | tuple[int, ...], *codes: str, named: Iterable[object] | None = None, **headers: HeaderWanted
    ) -> Step:
        """Refused with one of these statuses, and these codes in any order. Args: named, digests in their details."""
        statuses = status if isinstance(status, tuple) else (status,)
        texts = None if named is None else tuple(sorted(map(str, named)))
        told = tuple((_dashed(it), text) for it, text in headers.items())
        return replace(self, wanted=Wanted(statuses, codes=tuple(sorted(codes)) or None, named=texts, headers=told))

    def keeps(self, name: str) -> Step:
        """Remember the location that this one tells."""
        return replace(self, kept_as=name)

    @property
    def reads(self) -> bool:
        """Whether an agent has to answer it, too; the status of an upload is no matter of an agent."""
        return self.method in ("GET", "HEAD") and not re.search(r"/blobs/uploads/[0-9a-f]{32}$", self.target)

    def __str__(self) -> str:
        size = f" with {len(_joined(self.body))} bytes" if self.body else ""
        sent = "".join(f" {name}: {text}" for name, text in self.headers)
        return f"{self.method} {self.target[:200]}{size}{sent[:200]}"


Steps = Step | Sequence[Step]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One row of the table. `lenient`: it is about a registry with other settings than the defaults."""

    name: str
    words: str
    steps: tuple[Step, ...]
    lenient: bool = False


def requirement(name: str, words: str, *steps: Steps, lenient: bool = False) -> Requirement:
    """A row: its id, what is required, and the requests that show it."""
    flat = [step for each in steps for step in ([each] if isinstance(each, Step) else each)]
    return Requirement(name, words, tuple(flat), lenient)


def get(target: str, **headers: str | Sequence[str]) -> Step:
    return Step("GET", target, headers=_header_lines(headers))


def head(target: str, **headers: str | Sequence[str]) -> Step:
    return Step("HEAD", target, headers=_header_lines(headers))


def post(target: str, body: Body = b"", **headers: str | Sequence[str]) -> Step:
    return Step("POST", target, body, _header_lines(headers))


def patch(target: str, body: Body = b"", **headers: str | Sequence[str]) -> Step:
    return Step("PATCH", target, body, _header_lines(headers))


def put(target: str, body: Body = b"", **headers: str | Sequence[str]) -> Step:
    return Step("PUT", target, body, _header_lines(headers))


def delete(target: str) -> Step:
    return Step("DELETE", target)


def blob(digest: object, repository: str = "<name>") -> str:
    return f"/v2/{repository}/blobs/{digest}"


def manifest(reference: object, repository: str = "<name>") -> str:
    return f"/v2/{repository}/manifests/{reference}"


def referrers(subject: object) -> str:
    return f"/v2/<name>/referrers/{subject}"


def closing(digest: object, location: str = LOCATION) -> str:
    """Where an upload is closed."""
    return f"{location}?digest={digest}"


def filled(text: str, names: Mapping[str, str]) -> str:
    """The text with what its names in angle brackets stand for."""
    return re.sub(r"<([a-z]+)>", lambda match: names[match[1]], text)


def filled_listing(listing: Any, names: Mapping[str, str]) -> Any:
    """The same for JSON."""
    return json.loads(filled(json.dumps(listing), names))


def _header_lines(headers: Mapping[str, str | Sequence[str]]) -> tuple[tuple[str, str], ...]:
    """One line for each text."""
    listed = {name: [text] if isinstance(text, str) else text for name, text in headers.items()}
    return tuple((_dashed(name), text) for name, texts in listed.items() for text in texts)


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _joined(body: Body) -> bytes:
    return body if isinstance(body, bytes) else b"".join(body)
