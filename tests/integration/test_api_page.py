"""docs/api.md, run from its first line to its last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.helpers.dev_cluster import DevCluster, dev_cluster
from tests.helpers.doc_pages import DOCS, assert_it_does_what_it_says, is_as_shown
from tests.helpers.tools import require

from kraken.cli.layout import Counts

COUNTS = Counts(origins=2, trackers=1, indexes=1, proxies=1, agents=1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    overlay = {"agent": {"confirm_seconds": 0}}
    with dev_cluster(tmp_path_factory.mktemp("cluster"), COUNTS, settings=overlay) as running:
        yield running


def test_every_line_of_the_page_does_what_the_page_says(cluster: DevCluster, tmp_path: Path) -> None:
    require("curl")

    commands = assert_it_does_what_it_says(DOCS / "api.md", tmp_path, PROXY=cluster.proxy, AGENT=cluster.agent)

    assert commands >= 38


def test_what_is_shown_is_compared() -> None:
    assert is_as_shown("a [b] c\n", "a [b] c")
    assert is_as_shown("one\ntwo\nthree", "one\n...\nthree")
    assert not is_as_shown("200", "404")
    assert not is_as_shown("one\nthree", "one\n...\nthree")
