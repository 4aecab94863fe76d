"""Every requirement that a registry of the OCI distribution specification has to meet, at a proxy and at an agent.

The table is read best from `general.py` on: a row is an id, the requirement in words, what is sent, and what is
answered. `every_answer.py` has what holds for all answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from tests.helpers.dev_cluster import DevCluster, dev_cluster, is_ready
from tests.helpers.ports import free_address
from tests.helpers.tools import Process, kraken, wait_until
from tests.integration.conformance.clients import CLIENTS
from tests.integration.conformance.deleting import DELETING
from tests.integration.conformance.general import GENERAL
from tests.integration.conformance.language import Requirement, Step
from tests.integration.conformance.lists import LISTS
from tests.integration.conformance.pulling import PULLING
from tests.integration.conformance.pushing_blobs import PUSHING_BLOBS
from tests.integration.conformance.pushing_manifests import PUSHING_MANIFESTS
from tests.integration.conformance.referrers_list import REFERRERS
from tests.integration.conformance.runner import Registry, refuses, run

from kraken.cli.layout import Counts
from kraken.core.peers import Address

TABLE: Final = (
    *GENERAL, *PULLING, *PUSHING_BLOBS, *PUSHING_MANIFESTS, *LISTS, *REFERRERS, *DELETING, *CLIENTS,
)  # fmt: skip
WITH_DEFAULTS: Final = [row for row in TABLE if not row.lenient]
LENIENT: Final = [row for row in TABLE if row.lenient]

COUNTS: Final = Counts(origins=3, trackers=1, indexes=2, proxies=2, agents=1)
AT_ONCE: Final = {"agent": {"confirm_seconds": 0}}
"""An agent that asks the index each time sees every change at once, like a proxy."""

LENIENT_PUSH: Final = {"sparse_indexes": True, "max_manifest_bytes": "8MiB", "deletes": False}


@dataclass(frozen=True, slots=True)
class Site:
    """A cluster, and one proxy more, of other settings."""

    cluster: DevCluster
    lenient: Address

    def at_one_proxy(self, _step: Step, _number: int) -> Address:
        return self.cluster["proxy-1"].http

    def at_two_proxies(self, _step: Step, number: int) -> Address:
        """Each step at the other one: what one has answered, the other one knows."""
        return self.cluster[f"proxy-{1 + number % 2}"].http

    def at_an_agent(self, step: Step, _number: int) -> Address:
        """What is read is read from the agent; writes are for a proxy."""
        return self.cluster.agent if step.reads else self.cluster.proxy

    def at_the_lenient(self, _step: Step, _number: int) -> Address:
        return self.lenient


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    data = tmp_path_factory.mktemp("conformance")
    with dev_cluster(data, COUNTS, settings=AT_ONCE) as cluster, _another_proxy(data, LENIENT_PUSH) as lenient:
        yield Site(cluster, lenient)
        assert cluster.events("request_failed") == []
        assert cluster.crashes() == 0


@contextmanager
def _another_proxy(data: Path, push: dict[str, Any]) -> Iterator[Address]:
    """A proxy of the cluster whose files are in `data`, with these settings for pushes."""
    address = free_address()
    settings = yaml.safe_load((data / "config" / "proxy-1.yaml").read_text())
    settings |= {"name": "lenient", "http": {"listen": str(address)}, "data": str(data / "lenient"), "push": push}
    file = data / "lenient.yaml"
    file.write_text(yaml.safe_dump(settings))
    process = Process(kraken("proxy", "--config", file), data / "dev.log")
    try:
        wait_until(lambda: is_ready(address) or process.exit_code is not None, "the lenient proxy is ready")
        yield address
    finally:
        process.stop()


def _named(row: Requirement) -> str:
    return row.name


def test_no_two_rows_have_the_same_name() -> None:
    names = [row.name for row in TABLE]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", WITH_DEFAULTS, ids=_named)
async def test_at_a_proxy(site: Site, row: Requirement) -> None:
    await run(row, Registry("a proxy", site.at_one_proxy))


@pytest.mark.parametrize("row", WITH_DEFAULTS, ids=_named)
async def test_at_two_proxies_in_turn(site: Site, row: Requirement) -> None:
    await run(row, Registry("two proxies", site.at_two_proxies))


@pytest.mark.parametrize("row", WITH_DEFAULTS, ids=_named)
async def test_at_an_agent(site: Site, row: Requirement) -> None:
    await run(row, Registry("an agent", site.at_an_agent))


@pytest.mark.parametrize("row", LENIENT, ids=_named)
async def test_at_a_proxy_of_other_settings(site: Site, row: Requirement) -> None:
    await run(row, Registry("a lenient proxy", site.at_the_lenient))


@pytest.mark.parametrize("row", TABLE, ids=_named)
async def test_an_agent_takes_none_of_the_writes(site: Site, row: Requirement) -> None:
    await refuses(row, site.cluster.agent)
