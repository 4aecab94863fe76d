"""SIGHUP: what can be changed while a component runs is read again from its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kraken.cli.kinds import Kind, settings_class
from kraken.config.loader import load
from kraken.core.errors import BadConfig
from kraken.observability.events import Event
from kraken.observability.logs import get_logger
from kraken.runtime.component import Component, Retunable


def read_again(kind: Kind, served: Component, config: Path, environ: Mapping[str, str]) -> None:
    """Give a running component its settings anew. A file with a mistake changes nothing, and is logged."""
    log = get_logger(served.kind, served.name)
    try:
        settings = load(kind, settings_class(kind), config, environ)
    except BadConfig as error:
        log.error(Event.SETTINGS_REFUSED, error=str(error))  # noqa: TRY400 - the operator's mistake, not ours
        return
    if isinstance(served, Retunable):
        served.retune(settings)
    log.info(Event.SETTINGS_READ)
