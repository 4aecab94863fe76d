"""The user name and password with which an upstream is asked."""

from __future__ import annotations

import base64
from pathlib import Path

from kraken.core.errors import Unavailable
from kraken.runtime.threads import FileThreads

_MAX_BYTES = 64 * 1024

_Version = tuple[int, int, int]


class Credentials:
    """A user whose password is in a file, which may change at any time: secrets that a cluster mounts are renewed."""

    def __init__(self, username: str, password_file: Path, threads: FileThreads) -> None:
        self.username = username
        self._file = password_file
        self._threads = threads
        self._version: _Version | None = None
        self._header = ""

    async def basic(self) -> str:
        """The value of an Authorization header. Raises: Unavailable, when the file has no password."""
        return await self._threads.run(self._read)

    def _read(self) -> str:
        try:
            status = self._file.stat()
            version = (status.st_ino, status.st_size, status.st_mtime_ns)
            if version != self._version:
                self._header = self._header_of(self._file.read_bytes()[: _MAX_BYTES + 1])
                self._version = version
        except OSError as error:
            raise Unavailable(f"password_file {self._file} cannot be read: {error.strerror}") from error
        return self._header

    def _header_of(self, data: bytes) -> str:
        password = data.rstrip(b"\r\n")  # editors and `echo` leave a line end behind it
        if not password or len(data) > _MAX_BYTES:
            raise Unavailable(f"password_file {self._file} is {'too large' if password else 'empty'}")
        return "Basic " + base64.b64encode(self.username.encode() + b":" + password).decode("ascii")
