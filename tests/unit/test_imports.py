"""The direction of dependencies: cli, components, shells, engines, core; never back."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kraken

SOURCE = Path(kraken.__file__).parent

COMPONENTS = ("agent", "origin", "tracker", "index", "proxy")
ENGINES = ("oci", "p2p", "storage", "cluster", "upstream")
HELPERS = ("notifications",)
"""Shells that components share."""
PURE = tuple(f"kraken.notifications.{name}" for name in ("backoff", "envelope", "filters", "settings", "signature"))
"""Their modules that only decide."""
OUTSIDE_WORLD = frozenset(
    {"aiohttp", "asyncio", "concurrent", "http", "logging", "multiprocessing", "os", "prometheus_client", "rich"}
    | {"select", "selectors", "shutil", "signal", "socket", "ssl", "structlog", "subprocess", "tempfile", "threading"}
    | {"time", "typer", "urllib", "yaml", "yarl"}
)
PURE_THIRD_PARTY = frozenset({"blake3", "msgspec"})
HARMLESS = frozenset({"os.path", "urllib.parse"})
"""They bear the name of the outside world, and only work on text."""


def modules() -> list[str]:
    return sorted(module_name(path) for path in SOURCE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = ("kraken", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(module: str) -> Iterator[str]:
    """Every module that a module imports when it runs, wherever in its text; names for annotations do not count."""
    path = SOURCE.joinpath(*module.split(".")[1:])
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            yield node.module or ""


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from statements(child)


def layer(module: str) -> str:
    """The layer of one of ours: core, sim, cli, or engine, io, support, helper or component with its name."""
    parts = module.split(".")[1:] or ["kraken"]
    top = parts[0]
    if top in ENGINES:
        return f"io:{top}" if "io" in parts[1:2] else f"engine:{top}"
    if top in COMPONENTS:
        return f"component:{top}"
    if top in HELPERS:
        return f"helper:{top}"
    if top in ("runtime", "observability", "config", "security"):
        return f"support:{top}"
    return {"core": "core", "cli": "cli", "sim": "sim", "kraken": "root", "__main__": "cli"}[top]


def may_import(module: str, other: str) -> bool:
    """Whether one of our modules may import another one of ours."""
    mine, theirs = layer(module), layer(other)
    kind, _, name = mine.partition(":")
    their_kind, _, their_name = theirs.partition(":")
    if theirs in ("core", "root") or mine == theirs or kind == "cli":
        return True
    if kind == "component" and their_kind == "component":
        last = other.rpartition(".")[2]
        return last in ("client", "messages") or last.endswith("_client")
    if kind == "sim":  # beside the components: it sees the engines, and the tracker's
        return their_kind == "engine" or other in TRACKER_ENGINE
    if kind == "engine" and their_kind == "engine":
        return their_name in ENGINE_IMPORTS.get(name, ())
    allowed = {
        "core": set[str](),
        "root": set[str](),
        "engine": set[str](),
        "io": {"engine", "io", "support"},
        "support": {"support"},
        "helper": {"engine", "support"},
        "component": {"engine", "io", "helper", "support"},
    }[kind]
    if kind == "support":
        return their_kind in allowed and their_name in SUPPORT_IMPORTS[name]
    return their_kind in allowed and not (their_kind == "support" and their_name == "config")


TRACKER_ENGINE = ("kraken.tracker.peer_table", "kraken.tracker.messages", "kraken.tracker.settings")

ENGINE_IMPORTS = {"upstream": {"oci"}}
"""Beyond core: what an upstream is asked for is named in the registry's terms."""

SUPPORT_IMPORTS = {
    "observability": set[str](),
    "runtime": {"observability"},
    "config": set[str](),
    "security": set[str](),
}
"""Beyond core."""


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_layers_below_its_own(module: str) -> None:
    ours = [other for other in imports_of(module) if other.split(".")[0] == "kraken"]

    assert [other for other in ours if not may_import(module, other)] == []


@pytest.mark.parametrize("module", [name for name in modules() if layer(name).startswith("engine:") or name in PURE])
def test_an_engine_sees_nothing_of_the_outside_world(module: str) -> None:
    foreign = {other.split(".")[0] for other in imports_of(module) if other not in HARMLESS}

    assert sorted(foreign & OUTSIDE_WORLD) == []


@pytest.mark.parametrize("module", [name for name in modules() if layer(name) == "core"])
def test_core_needs_the_standard_library_only(module: str) -> None:
    third_party = {"aiohttp", "prometheus_client", "rich", "structlog", "typer", "yaml", "yarl"} | PURE_THIRD_PARTY
    foreign = {other.split(".")[0] for other in imports_of(module)}

    assert sorted(foreign & (third_party | OUTSIDE_WORLD)) == []


def test_only_the_command_line_imports_what_draws_on_terminals() -> None:
    drawing = [
        module
        for module in modules()
        if layer(module) != "cli" and any(other.split(".")[0] in ("rich", "typer") for other in imports_of(module))
    ]

    assert drawing == []
