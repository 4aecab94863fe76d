"""What the client of origins says while origins come and go."""

from __future__ import annotations

from pathlib import Path

from tests.unit.origin.cluster import cluster_of

from kraken.core.digest import Digest


async def test_a_blob_is_found_although_an_origin_goes_down_while_it_is_looked_for(tmp_path: Path) -> None:
    """What one answer says of an origin's health must not change who is asked next."""
    async with cluster_of(3, tmp_path, replicas=2) as cluster:
        blobs = [b"blob %d" % number for number in range(20)]
        for data in blobs:
            await cluster.client.put_blob(Digest.of(data), data)
            await cluster.held_everywhere(str(Digest.of(data)), set(cluster.members.owners(str(Digest.of(data)))))
        lost = cluster.settings.origins[0]
        await cluster.stop(lost)
        cluster.members.report_failure(lost)

        for data in blobs:
            assert await cluster.client.size(Digest.of(data)) == len(data)
