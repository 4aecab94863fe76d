"""The secret that an endpoint shares with us, in a file."""

from __future__ import annotations

import os
from pathlib import Path

from kraken.core.errors import BadConfig

MAX_BYTES = 4096


def read_secret(path: Path) -> bytes:
    """The bytes of the file without the line ends that editors leave at its end. Blocks.

    Raises: BadConfig, when it cannot be read, is empty, or is too large to be a secret.
    """
    try:
        with path.open("rb") as file:
            secret = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise BadConfig(f"cannot read the secret file {path}: {reason}") from error
    if len(secret) > MAX_BYTES:
        raise BadConfig(f"the secret file {path} has more than {MAX_BYTES} bytes")
    secret = secret.rstrip(b"\r\n")
    if not secret:
        raise BadConfig(f"the secret file {path} is empty; write a long random text into it")
    return secret
