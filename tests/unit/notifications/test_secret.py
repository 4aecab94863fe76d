from __future__ import annotations

from pathlib import Path

import pytest

from kraken.core.errors import BadConfig
from kraken.notifications.secret import MAX_BYTES, read_secret


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\n\n"])
def test_line_ends_after_a_secret_do_not_count(tmp_path: Path, ending: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b" s3cret \xff" + ending)

    assert read_secret(path) == b" s3cret \xff"


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "is empty"), (b"\n", "is empty"), (b"x" * (MAX_BYTES + 1), "more than 4096 bytes")]
)
def test_what_is_no_secret_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)

    with pytest.raises(BadConfig, match=words):
        read_secret(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="none: No such file or directory"):
        read_secret(tmp_path / "none")
