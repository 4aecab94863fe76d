"""Structured logs on standard error: JSON lines for machines, or readable lines on a terminal."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from enum import Enum
from typing import Any, TextIO

import msgspec
import structlog

from kraken.core.settings import setting

Log = structlog.typing.FilteringBoundLogger

_FOR_RENDERERS = frozenset({"exc_info", "stack_info"})
_PLAIN = (str, int, float, bool, type(None), list, tuple, dict)


class LogFormat(Enum):
    """How a line is written."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class LogLevel(Enum):
    """The least important line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What goes to standard error, and in which form."""

    format: LogFormat = setting(
        LogFormat.AUTO, meaning="json, text, or auto: text on a terminal and JSON lines everywhere else."
    )
    level: LogLevel = setting(LogLevel.INFO, meaning="The least important lines that are written.")


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Set the form of every log line of this process, those of libraries included.

    Args: stream, where lines go; standard error unless told otherwise.
    """
    out = stream or sys.stderr
    as_text = settings.format is LogFormat.TEXT or (settings.format is LogFormat.AUTO and out.isatty())
    level = getattr(logging, settings.level.name)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            _plain_values,
            structlog.processors.StackInfoRenderer(),
            *(_text_renderers(out) if as_text else _json_renderers()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_IntoStructlog()]
    root.setLevel(max(level, logging.WARNING))


def get_logger(component: str, name: str) -> Log:
    """A logger whose lines carry the component's kind and its name."""
    log: Log = structlog.get_logger().bind(component=component, name=name)
    return log


class _IntoStructlog(logging.Handler):
    """Carries the records of libraries (asyncio, aiohttp) into the same stream and form."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger().bind(component="library", name=record.name)
        exception = record.exc_info if record.exc_info and record.exc_info[0] else None
        log.log(record.levelno, "library_message", message=record.getMessage(), exc_info=exception)


def _plain_values(_logger: Any, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Digests, addresses and event names as text: the form in which people search for them."""
    for key, value in line.items():
        if key not in _FOR_RENDERERS and type(value) not in _PLAIN:
            line[key] = str(value)
    return line


def _json_renderers() -> list[structlog.typing.Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_as_json)]


def _text_renderers(out: TextIO) -> list[structlog.typing.Processor]:
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=out.isatty(), timestamp_key="at", exception_formatter=plain)]


def _as_json(line: dict[str, Any], **_unused: Any) -> str:
    return msgspec.json.encode(line, enc_hook=str).decode()
