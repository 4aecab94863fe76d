from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraken.core.digest import Algorithm, Digest
from kraken.core.errors import Invalid
from kraken.core.metainfo import SwarmId
from kraken.storage.layout import (
    Layout,
    digest_of_blob,
    digest_of_partial,
    session_id,
    swarm_of_metainfo,
)

LAYOUT = Layout(Path("/data"))
HEX = "ab" * 32
DIGEST = Digest.parse(f"sha256:{HEX}")

digests = st.builds(Digest.of, st.binary(max_size=8), st.sampled_from(Algorithm))


def test_paths_are_as_documented() -> None:
    assert LAYOUT.blob(DIGEST) == Path(f"/data/blobs/sha256/ab/{HEX}")
    assert LAYOUT.partial(DIGEST) == Path(f"/data/partial/sha256-{HEX}")
    assert LAYOUT.claims(DIGEST) == Path(f"/data/partial/sha256-{HEX}.pieces")
    assert LAYOUT.metainfo(SwarmId(bytes(20))) == Path(f"/data/metainfo/00/{'00' * 20}")
    assert LAYOUT.upload(session_id("session-1")) == Path("/data/uploads/session-1")
    assert LAYOUT.quarantined(DIGEST, 7) == Path(f"/data/quarantine/00000000000000000007-sha256-{HEX}")


@given(digests)
def test_a_digest_comes_back_from_the_path_of_its_blob(digest: Digest) -> None:
    assert digest_of_blob(LAYOUT.blob(digest)) == digest
    assert digest_of_partial(LAYOUT.partial(digest).name) == digest
    assert digest_of_partial(LAYOUT.claims(digest).name) is None


@given(st.binary(min_size=20, max_size=20).map(SwarmId))
def test_a_swarm_comes_back_from_the_path_of_its_metainfo(swarm: SwarmId) -> None:
    assert swarm_of_metainfo(LAYOUT.metainfo(swarm).name) == swarm


@given(st.text())
def test_a_foreign_name_is_nobodys(name: str) -> None:
    path = Path("/data/blobs/sha256/ab") / name.replace("\0", "").replace("/", "")

    assert digest_of_blob(path) is None or digest_of_blob(path) == Digest(Algorithm.SHA256, path.name)
    assert digest_of_partial(name) is None or LAYOUT.partial(Digest.parse(name.replace("-", ":", 1))).name == name
    assert swarm_of_metainfo(name) is None or len(name) == 40


def test_a_blob_below_the_wrong_directory_is_nobodys() -> None:
    assert digest_of_blob(Path(f"/data/blobs/sha256/cd/{HEX}")) is None
    assert digest_of_blob(Path(f"/data/blobs/md5/ab/{HEX}")) is None


@pytest.mark.parametrize("name", ["a" * 8, "0123456789abcdef", "A-b_c-1234", "a" * 64])
def test_session_names_are_letters_and_digits(name: str) -> None:
    assert session_id(name) == name


@pytest.mark.parametrize(
    "name", ["", "short", "a" * 65, "../../../etc", "session/1", "-session", "session.1", "sessiön-1"]
)
def test_other_session_names_are_invalid(name: str) -> None:
    with pytest.raises(Invalid):
        session_id(name)
