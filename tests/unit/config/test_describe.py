from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from kraken.config.describe import as_markdown, as_text, document
from kraken.core.pieces import MIB
from kraken.core.settings import Unit, setting


@dataclass(frozen=True, slots=True)
class CacheSettings:
    max_bytes: int = setting(64 * MIB, unit=Unit.BYTES, low=1, meaning="At most this much.")


@dataclass(frozen=True, slots=True)
class AgentSettings:
    name: str = setting(lambda: f"agent-{socket.gethostname()}", meaning="Its name.")
    data: Path = setting(Path("/var/lib/kraken"), meaning="Where it keeps things.")
    cache: CacheSettings = setting(CacheSettings, meaning="The cache.")


def test_every_setting_has_type_unit_default_and_meaning() -> None:
    rows = as_markdown("agent", AgentSettings).splitlines()

    assert rows[0] == "## agent"
    assert rows[-1] == "| `cache.max_bytes` | whole number | bytes | `64MiB` | At most this much. At least 1. |"
    assert "| `data` | path |  | `/var/lib/kraken` | Where it keeps things. |" in rows


def test_a_default_that_depends_on_the_machine_is_said_in_words() -> None:
    assert "| `name` | text |  | `agent-<host name>` | Its name. |" in as_markdown("agent", AgentSettings)


def test_the_text_form_tells_the_environment_variable_as_well() -> None:
    text = as_text("agent", AgentSettings)

    assert "cache.max_bytes: 64MiB\n    (whole number, bytes, KRAKEN_CACHE__MAX_BYTES)\n    At most this much." in text


def test_the_document_has_a_chapter_for_each_component() -> None:
    text = document({"agent": AgentSettings, "origin": AgentSettings})

    assert text.startswith("# Configuration\n")
    assert text.count("\n## ") == 2
