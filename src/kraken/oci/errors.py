"""Errors as registry clients read them: a closed list of codes, and the core errors in its terms.

Source: OCI distribution specification 1.1, Error codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import msgspec

from kraken.core.errors import Corrupt, Invalid, KrakenError, NotFound, OutOfSpace, Rejected, Unavailable


class Code(Enum):
    """Every code that a client may be sent."""

    BLOB_UNKNOWN = "BLOB_UNKNOWN"
    BLOB_UPLOAD_INVALID = "BLOB_UPLOAD_INVALID"
    BLOB_UPLOAD_UNKNOWN = "BLOB_UPLOAD_UNKNOWN"
    DIGEST_INVALID = "DIGEST_INVALID"
    MANIFEST_BLOB_UNKNOWN = "MANIFEST_BLOB_UNKNOWN"
    MANIFEST_INVALID = "MANIFEST_INVALID"
    MANIFEST_UNKNOWN = "MANIFEST_UNKNOWN"
    NAME_INVALID = "NAME_INVALID"
    NAME_UNKNOWN = "NAME_UNKNOWN"
    SIZE_INVALID = "SIZE_INVALID"
    UNAUTHORIZED = "UNAUTHORIZED"
    DENIED = "DENIED"
    UNSUPPORTED = "UNSUPPORTED"
    TOOMANYREQUESTS = "TOOMANYREQUESTS"

    @property
    def status(self) -> int:
        """The HTTP status that goes with it, unless the error says otherwise."""
        return _STATUS.get(self, 400)


_STATUS = {
    Code.BLOB_UNKNOWN: 404,
    Code.BLOB_UPLOAD_UNKNOWN: 404,
    Code.MANIFEST_UNKNOWN: 404,
    Code.NAME_UNKNOWN: 404,
    Code.UNAUTHORIZED: 401,
    Code.DENIED: 403,
    Code.UNSUPPORTED: 405,
    Code.TOOMANYREQUESTS: 429,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One entry of an error answer."""

    code: Code
    message: str
    detail: Mapping[str, str] = field(default_factory=dict)


class RegistryError(KrakenError):
    """A request that is answered with one or more problems.

    Args: status, where it is not the one of the first problem's code; headers, to be sent along.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        detail: Mapping[str, str] | None = None,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        more: Sequence[Problem] = (),
    ) -> None:
        super().__init__(message)
        self.problems = (Problem(code, message, detail or {}), *more)
        self.status = status or code.status
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """The JSON answer."""
        listed = [{"code": it.code.value, "message": it.message, "detail": dict(it.detail)} for it in self.problems]
        return msgspec.json.encode({"errors": listed})


@dataclass(frozen=True, slots=True)
class Blame:
    """Which codes the core errors have in one kind of request."""

    unknown: Code
    rejected: Code
    unavailable: Code = Code.TOOMANYREQUESTS


BLOB_READ = Blame(unknown=Code.BLOB_UNKNOWN, rejected=Code.DIGEST_INVALID)
MANIFEST_READ = Blame(unknown=Code.MANIFEST_UNKNOWN, rejected=Code.MANIFEST_INVALID)
MANIFEST_WRITE = Blame(unknown=Code.MANIFEST_UNKNOWN, rejected=Code.MANIFEST_INVALID)
TAGS_READ = Blame(unknown=Code.NAME_UNKNOWN, rejected=Code.NAME_INVALID)
UPLOAD = Blame(
    unknown=Code.BLOB_UPLOAD_UNKNOWN, rejected=Code.BLOB_UPLOAD_INVALID, unavailable=Code.BLOB_UPLOAD_INVALID
)


def as_registry_error(error: KrakenError, blame: Blame) -> RegistryError:
    """What a client is told about `error`.

    The list has no code for a failure of the registry itself, so those carry the nearest one; what clients
    act on is the status: 503 and 507 with Retry-After, and 500.
    """
    message = str(error)
    match error:
        case RegistryError():
            return error
        case NotFound():
            return RegistryError(blame.unknown, message)
        case Rejected() | Invalid():
            return RegistryError(blame.rejected, message, status=400)
        case OutOfSpace():
            return RegistryError(blame.unavailable, message, status=507, headers=_retry_after(error))
        case Unavailable():
            return RegistryError(blame.unavailable, message, status=503, headers=_retry_after(error))
        case Corrupt():
            return RegistryError(Code.UNSUPPORTED, f"stored bytes are damaged: {message}", status=500)
        case _:
            return RegistryError(Code.UNSUPPORTED, message, status=500)


def internal_error() -> RegistryError:
    """What a client is told about a bug of ours: nothing but that it is one."""
    return RegistryError(Code.UNSUPPORTED, "the registry failed; its log says why", status=500)


def _retry_after(error: Unavailable) -> dict[str, str]:
    return {"Retry-After": str(max(1, round(error.retry_after)))}
