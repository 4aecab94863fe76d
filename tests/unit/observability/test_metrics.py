from __future__ import annotations

from kraken.observability.metrics import Metrics


def test_two_components_in_one_process_count_apart() -> None:
    first, second = Metrics("agent", "agent-1"), Metrics("agent", "agent-2")

    first.pull_bytes.labels(source="peers").inc(100)

    assert first.value("kraken_pull_bytes_total", source="peers") == 100.0
    assert second.value("kraken_pull_bytes_total", source="peers") == 0.0


def test_the_page_tells_who_speaks() -> None:
    page = Metrics("origin", "origin-1").render().decode()

    assert 'kraken_build_info{component="origin",name="origin-1",version="' in page


def test_every_family_of_ours_begins_with_kraken_and_has_a_meaning() -> None:
    families = [
        family for family in Metrics("agent", "agent-1").registry.collect() if not family.name.startswith("process_")
    ]

    assert len(families) > 25
    assert all(family.name.startswith("kraken_") and family.documentation.endswith(".") for family in families)
