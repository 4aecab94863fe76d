from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.blobs import blob_of

from kraken.core.digest import Digest
from kraken.core.errors import Corrupt, Invalid
from kraken.core.pieces import KIB
from kraken.origin.messages import split_metainfo

BLOB = blob_of(b"a manifest")
ENCODED = BLOB.metainfo.encode()


def test_metainfo_comes_alone_or_with_its_blob() -> None:
    assert split_metainfo(BLOB.digest, ENCODED, None) == (BLOB.metainfo, None)
    assert split_metainfo(BLOB.digest, ENCODED + BLOB.data, len(BLOB.data)) == (BLOB.metainfo, BLOB.data)
    empty = blob_of(b"")
    assert split_metainfo(empty.digest, empty.metainfo.encode(), 0) == (empty.metainfo, b"")


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(Invalid):
        split_metainfo(Digest.of(b"another"), ENCODED, None)
    with pytest.raises(Corrupt):
        split_metainfo(BLOB.digest, ENCODED + b"another", 7)
    for inline in (-1, len(ENCODED) + 1, 64 * KIB + 1):
        with pytest.raises(Invalid):
            split_metainfo(BLOB.digest, ENCODED, inline)


@given(st.binary(max_size=200), st.none() | st.integers(-5, 300))
def test_any_bytes_give_a_value_or_an_error_of_ours(data: bytes, inline: int | None) -> None:
    with suppress(Invalid, Corrupt):
        split_metainfo(BLOB.digest, data, inline)
