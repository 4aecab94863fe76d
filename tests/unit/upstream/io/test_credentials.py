from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from kraken.core.errors import Unavailable
from kraken.runtime.threads import FileThreads
from kraken.upstream.io.credentials import Credentials


@pytest.fixture
def threads() -> Iterator[FileThreads]:
    made = FileThreads(1)
    yield made
    made.close()


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


async def test_the_password_is_the_file_without_its_line_end(tmp_path: Path, threads: FileThreads) -> None:
    file = tmp_path / "password"
    file.write_text(" päss:word \r\n")

    assert await Credentials("ünal", file, threads).basic() == basic("ünal: päss:word ")


async def test_a_secret_that_is_replaced_is_read_again(tmp_path: Path, threads: FileThreads) -> None:
    """As Kubernetes does it: a link to a directory is turned, so that another file has the name."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "password").write_text(name)
    link = tmp_path / "data"
    link.symlink_to("old")
    credentials = Credentials("u", link / "password", threads)
    assert await credentials.basic() == basic("u:old")

    (tmp_path / "turned").symlink_to("new")
    (tmp_path / "turned").replace(link)

    assert await credentials.basic() == basic("u:new")


@pytest.mark.parametrize(
    ("data", "why"), [(None, "cannot be read"), (b"", "empty"), (b"\n", "empty"), (b"x" * 65537, "too large")]
)
async def test_a_file_without_a_password_is_named(
    tmp_path: Path, threads: FileThreads, data: bytes | None, why: str
) -> None:
    file = tmp_path / "password"
    if data is not None:
        file.write_bytes(data)

    with pytest.raises(Unavailable, match=why) as caught:
        await Credentials("u", file, threads).basic()
    assert str(file) in str(caught.value)
