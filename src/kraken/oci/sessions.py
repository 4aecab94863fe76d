"""Names of upload sessions."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kraken.core.errors import Invalid

_VERSION_4 = re.compile(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}")


@dataclass(frozen=True, slots=True)
class SessionId:
    """The 32 hex digits of a random UUID (version 4). Whoever knows one may write to the session."""

    text: str

    def __post_init__(self) -> None:
        if not _VERSION_4.fullmatch(self.text):
            raise Invalid(f"{self.text[:80]!r} is not the id of an upload session")

    def __str__(self) -> str:
        return self.text
