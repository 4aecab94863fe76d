"""The one line and the figures of a pull."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs
from tests.helpers.blobs import ManualClock, a_blob

from kraken.agent.cache import BlobReader
from kraken.agent.pull_record import PullRecord
from kraken.core.pieces import BLOCK_LENGTH, ByteRange, PieceIndex
from kraken.observability.logs import get_logger
from kraken.observability.metrics import Metrics
from kraken.oci.references import RepositoryName

BLOB = a_blob(pieces=3)
SOURCES = ("cache", "origins", "peers")


class ScriptedReader:
    """Piece i comes from SOURCES[i]; 100 bytes at most become available at once."""

    blob = SimpleNamespace(metainfo=BLOB.metainfo)

    def source(self, piece: PieceIndex) -> str:
        return SOURCES[piece]

    async def available(self, start: int, stop: int) -> int:
        return min(start + 100, stop)


READER = cast("BlobReader", ScriptedReader())


def a_pull(metrics: Metrics, clock: ManualClock) -> PullRecord:
    log = get_logger("agent", "test")
    return PullRecord("blob", RepositoryName("team/app"), BLOB.digest, clock, log, metrics)


def test_bytes_are_counted_by_where_they_came_from_across_pieces() -> None:
    metrics, clock = Metrics("agent", "test"), ManualClock()
    with capture_logs() as logs, a_pull(metrics, clock) as pull:
        clock.move(0.5)
        pull.sent(READER, ByteRange(BLOCK_LENGTH - 10, 2 * BLOCK_LENGTH + 7))
        clock.move(1.0)

    told: dict[str, Any] = {**logs[0]}
    assert {name: told[name] for name in ("event", "bytes", "seconds", "from_cache", "from_origins", "from_peers")} == {
        "event": "pull_finished",
        "bytes": BLOCK_LENGTH + 17,
        "seconds": 1.5,
        "from_cache": 10,
        "from_origins": BLOCK_LENGTH,
        "from_peers": 7,
    }
    assert metrics.value("kraken_pull_bytes_total", source="peers") == 7
    assert metrics.value("kraken_pulls_total", result="ok") == 1
    assert metrics.value("kraken_first_byte_seconds_sum") == 0.5


def test_a_pull_that_fails_is_one_line_too_and_the_error_goes_on() -> None:
    metrics = Metrics("agent", "test")
    with capture_logs() as logs, pytest.raises(ValueError, match="broken"), a_pull(metrics, ManualClock()):
        raise ValueError("broken")

    assert [(line["event"], line["error"]) for line in logs] == [("pull_failed", "broken")]
    assert metrics.value("kraken_pulls_total", result="failed") == 1


async def test_a_watched_reader_records_what_it_makes_available() -> None:
    metrics = Metrics("agent", "test")
    with a_pull(metrics, ManualClock()) as pull:
        assert await pull.watching(READER).available(0, BLOCK_LENGTH) == 100

    assert metrics.value("kraken_pull_bytes_total", source="cache") == 100
