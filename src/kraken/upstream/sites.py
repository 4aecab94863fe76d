"""Where a request goes, and what may go there with it.

A registry refers to others: a token server by its challenge, a store by a redirect. Each is judged by scheme, host
and port, as the HTTP client reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from kraken.core.errors import Invalid


@dataclass(frozen=True, slots=True)
class Site:
    """A scheme, a host and a port. The host of an IPv6 address has no brackets."""

    scheme: str
    host: str
    port: int

    def __post_init__(self) -> None:
        if self.scheme not in ("http", "https"):
            raise Invalid(f"{self.scheme[:20]!r} is not http or https")
        if not self.host:
            raise Invalid("there is no host in it")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_encrypted(self) -> bool:
        return self.scheme == "https"

    @property
    def is_loopback(self) -> bool:
        """Whether nothing that is sent there leaves this machine."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def keeps_secrets(self) -> bool:
        """Whether nobody on the way can read what is sent there."""
        return self.is_encrypted or self.is_loopback

    def is_as_safe_as(self, other: Site) -> bool:
        """Whether who was asked over `other` may send us here: never from encryption to plain text."""
        return self.is_encrypted or not other.is_encrypted
