from __future__ import annotations

import pytest
import uvloop

from kraken.cli.kinds import Kind, event_loop


@pytest.mark.parametrize("kind", Kind)
def test_only_a_tracker_which_sends_no_files_runs_on_uvloop(kind: Kind) -> None:
    expected = uvloop.new_event_loop if kind is Kind.TRACKER else None

    assert event_loop(kind) is expected
