from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from kraken.cli.kinds import Kind, settings_class
from kraken.cli.main import app
from kraken.config.describe import document
from kraken.config.schema import schema_of

DOCUMENT = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_configuration_document_is_what_the_generator_makes() -> None:
    made = document({kind.value: settings_class(kind) for kind in Kind})

    assert DOCUMENT.read_text().rstrip() == made.rstrip(), "run: make docs"


def test_every_setting_says_what_it_means_in_a_sentence() -> None:
    meanings = {
        f"{kind}: {option.path}": option.meaning
        for kind in Kind
        for option in schema_of(settings_class(kind)).options.values()
    }

    assert {name: meaning for name, meaning in meanings.items() if not meaning.endswith(".")} == {}


def test_the_command_shows_the_settings_of_each_component() -> None:
    for kind in Kind:
        shown = CliRunner().invoke(app, ["config", "show", kind.value])

        assert shown.exit_code == 0
        assert "http.listen: 127.0.0.1:" in shown.output
