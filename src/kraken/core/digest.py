"""Content digests, the names of blobs.

A `Digest` that exists is well formed: it can be put into a path or a URL as it is.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from kraken.core.errors import Invalid


class Hash(Protocol):
    """The part of a hashlib object that Kraken uses."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


class Algorithm(Enum):
    """Digest algorithms of the OCI image specification that registries must know."""

    SHA256 = "sha256"
    SHA512 = "sha512"

    def hasher(self) -> Hash:
        """A fresh hash. It releases the interpreter lock for updates of 2 KiB and more."""
        return hashlib.new(self.value, usedforsecurity=True)


_ENCODED = {Algorithm.SHA256: re.compile(r"[0-9a-f]{64}"), Algorithm.SHA512: re.compile(r"[0-9a-f]{128}")}


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """`algorithm:encoded`, checked. Source: OCI image specification, descriptor.md, Digests."""

    algorithm: Algorithm
    encoded: str

    def __post_init__(self) -> None:
        if not _ENCODED[self.algorithm].fullmatch(self.encoded):
            raise Invalid(f"{self.encoded[:160]!r} is not a {self.algorithm.value} value in lower-case hex")

    def __str__(self) -> str:
        return f"{self.algorithm.value}:{self.encoded}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Admit a digest that came from outside.

        Raises: Invalid, when it is malformed or its algorithm is neither sha256 nor sha512.
        """
        algorithm, colon, encoded = text.partition(":")
        if not colon:
            raise Invalid(f"{text[:160]!r} is not a digest: it should read sha256:<64 hex characters>")
        try:
            known = Algorithm(algorithm)
        except ValueError:
            raise Invalid(f"{text[:160]!r}: digests are sha256 or sha512 here") from None
        return cls(known, encoded)

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview, algorithm: Algorithm = Algorithm.SHA256) -> Digest:
        """The digest of `data`."""
        hasher = algorithm.hasher()
        hasher.update(data)
        return cls(algorithm, hasher.hexdigest())
