"""Tokens that registries' token servers give: how they are read, and how long they are used.

Source: Docker Registry token authentication, Requesting a token.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

import msgspec

from kraken.core.errors import Invalid

MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_TOKENS: Final = 4096
"""Of one upstream; the one that was used longest ago goes when it is reached."""

_DEFAULT_SECONDS: Final = 60.0
_MOST_SECONDS: Final = 24 * 3600.0
_HEADER_SAFE: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class TokenKey:
    """What a token is good for: who gives it, for whom, and with which rights."""

    realm: str
    service: str
    scope: str


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and for how many seconds it is good. Whoever prints one shows no secret."""

    text: str = field(repr=False)
    seconds: float


def parse_token(answer: bytes) -> Token:
    """The token in the answer of a token server.

    Raises: Invalid, when there is none, or none that could stand in a header.
    """
    try:
        body = _decoder.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"no token can be read: {error}") from error
    text = body.token or body.access_token or ""
    if not _HEADER_SAFE.fullmatch(text):
        raise Invalid("there is no token in the answer" if not text else "the token cannot stand in a header")
    seconds = body.expires_in if body.expires_in is not None and body.expires_in > 0 else _DEFAULT_SECONDS
    return Token(text, min(float(seconds), _MOST_SECONDS))


class TokenCache:
    """Tokens by what they are good for. One is given out until shortly before it expires."""

    def __init__(self) -> None:
        self._tokens: OrderedDict[TokenKey, tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tokens)

    def get(self, key: TokenKey, now: float) -> str | None:
        """The token; None when there is none, or it must be renewed."""
        text, renew_at = self._tokens.get(key, ("", now))
        if now >= renew_at:
            self._tokens.pop(key, None)
            return None
        self._tokens.move_to_end(key)
        return text

    def put(self, key: TokenKey, token: Token, now: float) -> None:
        """Keep a token from now on. Its last tenth is not used: it would expire on the way."""
        self._tokens[key] = (token.text, now + 0.9 * token.seconds)
        self._tokens.move_to_end(key)
        if len(self._tokens) > MAX_TOKENS:
            self._tokens.popitem(last=False)

    def drop(self, key: TokenKey, text: str) -> None:
        """Forget this token, unless another one has taken its place already."""
        known = self._tokens.get(key)
        if known is not None and known[0] == text:
            del self._tokens[key]


class _Answer(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None
    expires_in: float | None = None


_decoder = msgspec.json.Decoder(_Answer)
