"""Every query against the tables as the migrations make them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from heldard_anpr import sql

DOMAINS = ("decisions", "gate", "privacy", "registry", "stays")
SOURCES = sorted((Path(__file__).parent.parent / "heldard_anpr").rglob("*.py"))


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_query_fits_the_tables(site: Any, domain: str) -> None:
    wrong: list[str] = []
    for name, query in sql.load(f"heldard_anpr.{domain}").items():
        try:
            site.connection.execute(f"EXPLAIN {query}").close()
        except sqlite3.ProgrammingError as error:
            wrong += [] if "binding" in str(error) else [f"{name}: {error}"]
    assert wrong == []


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_query_is_used(domain: str) -> None:
    text = "\n".join(path.read_text("utf-8") for path in SOURCES)
    assert [name for name in sql.load(f"heldard_anpr.{domain}") if f'"{name}"' not in text] == []


def test_a_name_that_comes_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "doubled"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "queries.sql").write_text("-- one: First.\nSELECT 1;\n-- one: Again.\nSELECT 2;\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="two queries are named one"):
        sql.load("doubled")


def test_conditions_without_a_value_are_left_out() -> None:
    assert sql.where({"a = ?": None, "b = ?": 1, "c IN (?, ?)": (2, 3)}) == ("WHERE b = ? AND c IN (?, ?)", [1, 2, 3])
    assert sql.where({"a = ?": None}) == ("", [])
