"""The manifests that were read last."""

from __future__ import annotations

from kraken.core.digest import Digest
from kraken.oci.recent_manifests import RecentManifests


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    recent = RecentManifests(max_bytes=3 * 1500)
    data = {Digest.of(bytes([n])): bytes([n]) * 988 for n in range(4)}
    first, second, third, fourth = data
    for digest in (first, second, third):
        recent.keep(digest, data[digest])
    assert recent.get(first) == data[first]

    recent.keep(fourth, data[fourth])

    assert recent.get(second) is None
    assert [recent.get(digest) for digest in (first, third, fourth)] == [data[it] for it in (first, third, fourth)]


def test_a_large_one_is_not_kept_and_the_same_twice_counts_once() -> None:
    recent = RecentManifests(max_bytes=2000)
    large, small = Digest.of(b"large"), Digest.of(b"small")
    recent.keep(large, bytes(300_000))
    for _ in range(10):
        recent.keep(small, b"small")

    assert (recent.get(large), recent.get(small)) == (None, b"small")
