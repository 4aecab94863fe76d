"""docs/peer-tls.md: its commands, and a fleet that is brought from off to required while it runs."""

from __future__ import annotations

import os
import re
import signal
from itertools import count
from pathlib import Path
from typing import Any

import yaml
from tests.helpers.blobs import a_blob
from tests.helpers.dev_cluster import SMALL, DevCluster, dev_cluster
from tests.helpers.doc_pages import DOCS, assert_it_does_what_it_says
from tests.helpers.pulling import pull, push, right
from tests.helpers.tools import require, wait_until

PAGE = DOCS / "peer-tls.md"

_seeds = count(9000)


async def test_certificates_of_the_page_take_a_fleet_from_off_to_required(tmp_path: Path) -> None:
    require("openssl")
    assert assert_it_does_what_it_says(PAGE, tmp_path) == 8
    settings = settings_of_the_page(tmp_path / "pki")
    with dev_cluster(tmp_path / "cluster", SMALL, processes=True) as cluster:
        await everybody_gets_a_blob(cluster)
        for mode in ("optional", "required"):
            for member in (*cluster.of("origin"), *cluster.of("agent")):
                set_tls(cluster, member.name, {**settings, "tls": mode})
                await everybody_gets_a_blob(cluster)

        for member in (*cluster.of("origin"), *cluster.of("agent")):
            assert cluster.metric(member.name, "kraken_p2p_tls_refused_total") == 0
            assert 364 < cluster.metric(member.name, "kraken_p2p_certificate_seconds_left") / 86_400 < 365
        assert cluster.crashes() == 0


def settings_of_the_page(folder: Path) -> dict[str, Any]:
    """The section `peer` that the page shows, with the files where they are."""
    block = re.search(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    shown: dict[str, Any] = yaml.safe_load(block[1].replace("/etc/kraken/tls", str(folder)))
    return dict(shown["peer"])


def set_tls(cluster: DevCluster, name: str, settings: dict[str, Any]) -> None:
    """Change a member's settings and let it read them."""
    file = cluster.data / "config" / f"{name}.yaml"
    now = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**now, "peer": {**now["peer"], **settings}}))
    before = len(cluster.events("certificates_read", name=name, mode=settings["tls"]))
    os.kill(cluster[name].pid, signal.SIGHUP)
    wait_until(
        lambda: len(cluster.events("certificates_read", name=name, mode=settings["tls"])) > before,
        f"{name} has read its certificates",
    )


async def everybody_gets_a_blob(cluster: DevCluster) -> None:
    blob = a_blob(8, seed=next(_seeds))
    await push(cluster.proxy, blob.data)
    for agent in cluster.of("agent"):
        assert await pull(agent.http, blob.digest) == right(blob.digest, len(blob.data))
