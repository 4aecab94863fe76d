from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from kraken.runtime.garbage import collect_garbage_seldom


@pytest.fixture(autouse=True)
def _thresholds_as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_garbage_is_looked_for_less_often_but_is_looked_for() -> None:
    before = gc.get_threshold()
    collect_garbage_seldom()

    assert gc.isenabled()
    assert all(now > was > 0 for now, was in zip(gc.get_threshold()[:2], before[:2], strict=True))
