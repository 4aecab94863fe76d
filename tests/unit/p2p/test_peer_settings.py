"""Settings of the peer port that only make sense together."""

from __future__ import annotations

from pathlib import Path

import pytest

from kraken.core.errors import Invalid
from kraken.p2p.settings import PeerSettings, TlsMode

FILE = Path("some.pem")


def test_tls_needs_all_three_files_and_says_which_are_missing() -> None:
    for mode in (TlsMode.OPTIONAL, TlsMode.REQUIRED):
        with pytest.raises(Invalid, match=f"tls is {mode.value}, which needs tls_key_file, tls_ca_file; see"):
            PeerSettings(tls=mode, tls_cert_file=FILE)

        assert PeerSettings(tls=mode, tls_cert_file=FILE, tls_key_file=FILE, tls_ca_file=FILE).tls is mode


def test_files_may_be_named_before_tls_is_turned_on() -> None:
    assert PeerSettings(tls_cert_file=FILE).tls is TlsMode.OFF
