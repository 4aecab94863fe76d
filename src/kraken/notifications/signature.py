"""The signature of a POST, by which a webhook knows that it comes from who shares its secret, and when.

The time is signed as well, so that what somebody recorded cannot be played again later.
"""

from __future__ import annotations

import hashlib
import hmac

HEADER = "Kraken-Signature"


def signature(secret: bytes, body: bytes, at: int) -> str:
    """The value of the header. Args: at, Unix seconds."""
    mac = hmac.new(secret, f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},sha256={mac.hexdigest()}"
