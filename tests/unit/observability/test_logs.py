from __future__ import annotations

import io
import json
import logging

from kraken.core.digest import Digest
from kraken.observability.events import Event
from kraken.observability.logs import LogFormat, LogLevel, LogSettings, configure, get_logger


def test_a_json_line_carries_event_component_name_and_fields() -> None:
    out = io.StringIO()
    configure(LogSettings(format=LogFormat.JSON), out)

    get_logger("agent", "agent-1").info(Event.PULL_FINISHED, digest=Digest.of(b""), bytes=5)

    line = json.loads(out.getvalue())
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "pull_finished",
        "level": "info",
        "component": "agent",
        "name": "agent-1",
        "digest": f"{Digest.of(b'')}",
        "bytes": 5,
    }


def test_lines_below_the_level_are_not_written() -> None:
    out = io.StringIO()
    configure(LogSettings(format=LogFormat.JSON, level=LogLevel.WARNING), out)

    get_logger("agent", "agent-1").info(Event.PULL_STARTED)
    get_logger("agent", "agent-1").warning(Event.HOST_DOWN)

    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["host_down"]


def test_a_file_is_not_a_terminal_so_auto_means_json() -> None:
    out = io.StringIO()
    configure(LogSettings(format=LogFormat.AUTO), out)

    get_logger("agent", "agent-1").info(Event.HOST_UP)

    assert json.loads(out.getvalue())["event"] == "host_up"


def test_text_is_one_readable_line() -> None:
    out = io.StringIO()
    configure(LogSettings(format=LogFormat.TEXT), out)

    get_logger("agent", "agent-1").info(Event.HOST_UP, host="127.0.0.1:5010")

    assert out.getvalue().count("\n") == 1
    assert "host_up" in out.getvalue()
    assert "host=127.0.0.1:5010" in out.getvalue()


def test_warnings_of_libraries_take_the_same_way() -> None:
    out = io.StringIO()
    configure(LogSettings(format=LogFormat.JSON), out)

    logging.getLogger("asyncio").error("Task %s was lost", "x")

    line = json.loads(out.getvalue())
    assert (line["event"], line["name"], line["message"]) == ("library_message", "asyncio", "Task x was lost")


def test_event_names_are_lower_case_words_and_unique() -> None:
    names = [event.value for event in Event]

    assert names == sorted(set(names), key=names.index)
    assert all(name.replace("_", "").isalpha() and name.islower() for name in names)
