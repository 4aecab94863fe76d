"""What is required of every answer under /v2/, whatever was asked. The runner holds all answers to all of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.integration.conformance.language import Step
from tests.integration.conformance.wire import Answer

from kraken.core.digest import Digest

STATUSES: Final = {
    "BLOB_UNKNOWN": {404},
    "BLOB_UPLOAD_INVALID": {400, 416},
    "BLOB_UPLOAD_UNKNOWN": {404},
    "DIGEST_INVALID": {400},
    "MANIFEST_BLOB_UNKNOWN": {400},
    "MANIFEST_INVALID": {400, 413, 414},
    "MANIFEST_UNKNOWN": {404},
    "NAME_INVALID": {400},
    "NAME_UNKNOWN": {404},
    "SIZE_INVALID": {400, 416},
    "UNAUTHORIZED": {401},
    "DENIED": {403},
    "UNSUPPORTED": {400, 405},
    "TOOMANYREQUESTS": {429},
}
"""The closed list of codes, and with which statuses each goes."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that holds for every answer: in words, and as what is wrong with one; None when nothing is."""

    words: str
    fault: Callable[[Step, Answer], str | None]


def faults(step: Step, answer: Answer) -> list[str]:
    """All that is wrong with an answer."""
    told = ((rule.words, rule.fault(step, answer)) for rule in RULES)
    return [f"{words}: {fault}" for words, fault in told if fault]


def _no_failure_of_its_own(_step: Step, answer: Answer) -> str | None:
    return f"it is {answer.status}" if answer.status >= 500 else None


def _version(_step: Step, answer: Answer) -> str | None:
    told = answer.header("Docker-Distribution-Api-Version")
    return None if told == "registry/2.0" else f"it says {told}"


def _no_coding(_step: Step, answer: Answer) -> str | None:
    return answer.header("Content-Encoding")


def _no_body(step: Step, answer: Answer) -> str | None:
    has_none = step.method == "HEAD" or answer.status in (204, 304)
    return f"it has {answer.body[:80]!r}" if has_none and answer.body else None


def _length(step: Step, answer: Answer) -> str | None:
    told = answer.header("Content-Length")
    if told is None or step.method == "HEAD" or answer.status in (204, 304):
        return None
    return None if int(told) == len(answer.body) else f"{told} announced, {len(answer.body)} sent"


def _error_form(step: Step, answer: Answer) -> str | None:
    if answer.status < 400 or step.method == "HEAD":
        return None
    if answer.header("Content-Type") != "application/json":
        return f"its type is {answer.header('Content-Type')}"
    try:
        errors = json.loads(answer.body)["errors"]
        wrong = [it for it in errors if set(it) != {"code", "message", "detail"} or not it["message"]]
    except (ValueError, KeyError, TypeError):
        return f"its body is {answer.body[:200]!r}"
    return f"there is {wrong or errors}" if wrong or not errors else None


def _error_codes(step: Step, answer: Answer) -> str | None:
    if answer.status < 400 or step.method == "HEAD":
        return None
    wrong = [code for code in codes_of(answer) if answer.status not in STATUSES.get(code, ())]
    return f"{wrong} with {answer.status}" if wrong else None


def _allowed(_step: Step, answer: Answer) -> str | None:
    return "it has none" if answer.status == 405 and not answer.header("Allow") else None


def _relative_location(_step: Step, answer: Answer) -> str | None:
    told = answer.header("Location")
    if told is None:
        return "it has none" if answer.status == 201 else None
    return None if re.fullmatch(r"/v2/[!-~]+", told) else told


def _own_digest(step: Step, answer: Answer) -> str | None:
    told = answer.header("Docker-Content-Digest")
    if told is None or step.method != "GET" or answer.status != 200:
        return None
    actual = Digest.of(answer.body, Digest.parse(told).algorithm)
    return None if str(actual) == told else f"{told} for bytes of {actual}"


def _asked_digest(step: Step, answer: Answer) -> str | None:
    told = answer.header("Docker-Content-Digest")
    asked = re.search(r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})(?![0-9a-f])", step.target)
    return None if told is None or asked is None or told == asked[0] else f"{told}, where {asked[0]} was named"


def _no_chunk_minimum(_step: Step, answer: Answer) -> str | None:
    return answer.header("OCI-Chunk-Min-Length")


def codes_of(answer: Answer) -> list[str]:
    """The codes of an error."""
    return [it["code"] for it in json.loads(answer.body)["errors"]]


RULES: Final = (
    Rule("No request makes the registry fail", _no_failure_of_its_own),
    Rule("Docker-Distribution-Api-Version is on everything under /v2/", _version),
    Rule("Nothing is encoded again, although clients accept gzip and zstd", _no_coding),
    Rule("An answer to HEAD, a 204 and a 304 have no body", _no_body),
    Rule("Content-Length is exact", _length),
    Rule('An error is JSON, {"errors":[{"code","message","detail"}]}', _error_form),
    Rule("An error's code is one of the list, and goes with its status", _error_codes),
    Rule("A 405 tells what is allowed", _allowed),
    Rule("A 201 has a Location; locations are relative, so that they are right behind any proxy", _relative_location),
    Rule("Docker-Content-Digest is that of the bytes", _own_digest),
    Rule("Docker-Content-Digest uses the algorithm that the client used", _asked_digest),
    Rule("There is no smallest chunk, so none is told", _no_chunk_minimum),
)
