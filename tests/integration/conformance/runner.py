"""Takes the rows of the table to a registry, step by step."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

from tests.integration.conformance.every_answer import codes_of, faults
from tests.integration.conformance.language import (
    NAME_LENGTH,
    HeaderWanted,
    Requirement,
    Step,
    Wanted,
    filled,
    filled_listing,
    get,
)
from tests.integration.conformance.wire import Answer, ask

from kraken.core.digest import Digest
from kraken.core.peers import Address

_ACCEPTED: Final = (("Accept-Encoding", "gzip, zstd"),)
"""As clients send it with everything."""

_SOME_SESSION: Final = f"/v2/x/blobs/uploads/{'0' * 12}4{'0' * 3}8{'0' * 15}"

_NOTHING_NAMED: Final = {
    (400, "NAME_INVALID"),
    (400, "DIGEST_INVALID"),
    (400, "MANIFEST_INVALID"),
    (404, "BLOB_UPLOAD_UNKNOWN"),
}
"""What comes before all else: the path names nothing that could be."""

_rows = count(1)


@dataclass(frozen=True, slots=True)
class Registry:
    """Something to be tested: where each step of a row is sent. Args: choose, by the step and its number."""

    name: str
    choose: Callable[[Step, int], Address]


async def run(row: Requirement, registry: Registry) -> None:
    """Send the requests of a row, and hold the answers to it. Raises: AssertionError, with all that was said."""
    names = {"name": _new_name("n"), "other": _new_name("o")}
    said: list[str] = []
    for number, template in enumerate(row.steps):
        step = replace(template, target=filled(template.target, names))
        address = registry.choose(step, number)
        answer = await ask(address, step.method, step.target, step.body, (*_ACCEPTED, *step.headers))
        said.append(_told(address, step, answer))
        problems = [*faults(step, answer), *_differences(step.wanted, answer, names)]
        problems += await _pushed_is_there(registry, number, step, answer)
        assert not problems, "\n".join([row.words, *said, *(f"  !! {problem}" for problem in problems)])
        _remember(names, step, answer)


async def refuses(row: Requirement, address: Address) -> None:
    """Whatever a row writes is refused by a registry that is only read from."""
    names = {"name": "x", "other": "y"} | dict.fromkeys(("location", "first", "second"), _SOME_SESSION)
    for template in row.steps:
        if template.method in ("GET", "HEAD"):
            continue
        step = replace(template, target=filled(template.target, names))
        answer = await ask(address, step.method, step.target, step.body, step.headers)
        problems = faults(step, answer)
        told = (answer.status, *codes_of(answer))
        if told != (405, "UNSUPPORTED") and told not in _NOTHING_NAMED:
            problems.append(f"an agent takes no writes, and says {told}")
        assert not problems, "\n".join([_told(address, step, answer), *problems])


def _differences(wanted: Wanted, answer: Answer, names: dict[str, str]) -> list[str]:
    """In what an answer is not as it is wanted."""
    found = []
    if answer.status not in wanted.statuses:
        found.append(f"the status should be {' or '.join(map(str, wanted.statuses))}")
    if wanted.body is not None and answer.body != wanted.body:
        found.append(f"the body should be {wanted.body[:200]!r}, {len(wanted.body)} bytes")
    if wanted.json is not None and json.loads(answer.body) != (listing := filled_listing(wanted.json, names)):
        found.append(f"the body should say {listing}")
    if wanted.codes is not None and (not answer.body or tuple(sorted(codes_of(answer))) != wanted.codes):
        found.append(f"the codes should be {wanted.codes}")
    if wanted.named is not None and (digests := _named(answer)) != wanted.named:
        found.append(f"the details should name {wanted.named}, not {digests}")
    for name, text in wanted.headers:
        told = answer.header(name)
        if not _meets(told, text, names):
            found.append(f"{name} should be {text}, not {told}")
    return found


def _meets(told: str | None, wanted: HeaderWanted, names: dict[str, str]) -> bool:
    if wanted is None or told is None:
        return wanted is told
    if isinstance(wanted, str):
        return told == filled(wanted, names)
    return wanted.met_by(told, names)


def _named(answer: Answer) -> tuple[str, ...]:
    return tuple(sorted(it["detail"]["digest"] for it in json.loads(answer.body)["errors"]))


async def _pushed_is_there(registry: Registry, number: int, step: Step, answer: Answer) -> list[str]:
    """What a 201 says is there can be had where it says, by the very next request: a rule that takes a request."""
    place, told = answer.header("Location"), answer.header("Docker-Content-Digest")
    if answer.status != 201 or place is None:
        return []
    if told is None:
        return ["a 201 should tell the digest"]
    found = await ask(registry.choose(get(place), number + 1), "GET", place)
    if found.status == 200 and str(Digest.of(found.body, Digest.parse(told).algorithm)) == told:
        return []
    return [f"what was pushed with {step} should be at {place}, which answers {found.status}"]


def _remember(names: dict[str, str], step: Step, answer: Answer) -> None:
    location, link = answer.header("Location"), answer.header("Link")
    if location is not None:
        names["location"] = location
        if step.kept_as is not None:
            names[step.kept_as] = location
    if link is not None:
        names["link"] = link.partition(">")[0].removeprefix("<")


def _told(address: Address, step: Step, answer: Answer) -> str:
    headers = "".join(f"\n      {name}: {text[:200]}" for name, text in answer.headers)
    return f"  {step}  (at {address})\n    {answer.status}{headers}\n      {answer.body[:160]!r}"


def _new_name(letter: str) -> str:
    return f"{letter}{next(_rows):0{NAME_LENGTH - 1}}"
