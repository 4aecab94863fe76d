"""Which failures of a pull through are worth a line in the log."""

from __future__ import annotations

from kraken.core.errors import KrakenError, NotFound
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.oci.namespaces import MirroredName
from kraken.oci.references import Reference
from kraken.upstream.errors import Denied, LeftAlone


def log_failure(log: Log, name: MirroredName, reference: Reference, error: KrakenError) -> None:
    """Say why something cannot be had.

    That an upstream does not have it is an answer and no failure; why one is left alone was said when that began.
    """
    is_answer = isinstance(error, NotFound) and not isinstance(error, Denied)
    if not is_answer and not isinstance(error, LeftAlone):
        log.warning(Event.MIRROR_FETCH_FAILED, repository=name.local, reference=reference, error=str(error))
