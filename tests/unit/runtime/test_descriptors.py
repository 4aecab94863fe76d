from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from kraken.runtime.descriptors import allow_descriptors


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
