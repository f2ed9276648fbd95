"""The walls of the house: who may import whom, and that every statement fits the tables."""

from __future__ import annotations

import ast
import sqlite3
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from heldard.clock import SystemClock
from heldard.db import queries
from heldard.db.database import Database

ROOT = Path(__file__).parents[1]
KERNEL = sorted((ROOT / "heldard").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").glob("heldard-*/heldard_*/**/*.py"))
PUBLIC = {"heldard.plugin", "heldard.testing"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


@pytest.mark.parametrize("path", KERNEL, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_kernel_never_imports_a_plugin(path: Path) -> None:
    assert [name for name in imports(path) if name.startswith(("heldard_zones", "heldard_anpr"))] == []


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_plugin_imports_only_what_is_public(path: Path) -> None:
    foreign = [name for name in imports(path) if name.split(".")[0] == "heldard"]
    assert [name for name in foreign if ".".join(name.split(".")[:2]) not in PUBLIC] == []


def test_plugins_were_found_to_look_at() -> None:
    assert {path.parts[path.parts.index("plugins") + 1] for path in PLUGINS} >= {"heldard-zones", "heldard-anpr"}


@pytest.mark.parametrize("path", KERNEL, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_app_and_the_shell_around_it_wire_things(path: Path) -> None:
    """`heldard.app` is the map: whoever else builds the application runs, tests or demonstrates it."""
    if path.relative_to(ROOT).parts[1] in {"app.py", "serve.py", "replay.py", "testing", "cli.py", "plugin_check.py"}:
        return
    assert "heldard.app" not in set(imports(path))


@pytest.mark.parametrize("path", KERNEL, ids=lambda path: str(path.relative_to(ROOT)))
def test_models_know_nothing_of_stores_services_or_routes(path: Path) -> None:
    if path.name != "model.py":
        return
    assert [name for name in imports(path) if name.rpartition(".")[2] in {"store", "service", "routes"}] == []


def query_files() -> list[str]:
    return sorted(".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "heldard").rglob("queries.sql"))


def trouble(connection: sqlite3.Connection, sql: str) -> str | None:
    """What SQLite says against a statement; that its parameters are missing is nothing against it."""
    try:
        connection.execute(f"EXPLAIN {sql}").close()
    except sqlite3.Error as error:
        return None if "binding" in str(error) else str(error)
    return None


@pytest.mark.parametrize("package", query_files())
async def test_every_statement_fits_the_migrated_schema(package: str, tmp_path: Path) -> None:
    db = Database(tmp_path / "heldard.db", SystemClock())
    await db.open()
    connection = db.connect()
    try:
        wrong = {name: trouble(connection, sql) for name, sql in queries.load(package).items()}
    finally:
        connection.close()
        await db.close()
    assert {name: said for name, said in wrong.items() if said} == {}


def test_every_package_ships_its_sql() -> None:
    found = [entry.name for entry in resources.files("heldard.db").joinpath("migrations").iterdir()]
    assert "0001_start.sql" in found
