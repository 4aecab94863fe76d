from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from kraken.core.errors import BadConfig
from kraken.runtime import descriptors
from kraken.runtime.descriptors import allow_descriptors, require_descriptors


@pytest.fixture(autouse=True)
def _limits_as_before() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_limit_is_raised_as_far_as_it_may_be_and_never_lowered() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (700, hard))

    assert allow_descriptors(600) == 700
    assert allow_descriptors(800) == resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 800
    if hard != resource.RLIM_INFINITY:
        assert allow_descriptors(hard + 1) == resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard


def test_a_component_gets_what_its_settings_may_need_or_is_told_what_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "allow_descriptors", lambda wanted: min(wanted, 4096))

    require_descriptors(peers=40, http=1200, client=200)
    with pytest.raises(BadConfig, match=r"may open 4096 files, .* may need 4097: .*ulimit -Hn.* \(1200, "):
        require_descriptors(peers=41, http=1200, client=200)
