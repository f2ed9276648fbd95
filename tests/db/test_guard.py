"""A plugin's SQL reaches its own tables and nothing else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from heldard.db.guard import SqlGuard
from heldard.errors import ForbiddenError


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[SqlGuard]:
    path = tmp_path / "guard.db"
    with sqlite3.connect(path) as connection:
        connection.executescript("""
            CREATE TABLE mine (a, b); CREATE TABLE my_log (a); CREATE TABLE events (seq);
            CREATE VIEW my_view AS SELECT seq FROM events;
        """)
    connection.close()
    guard = SqlGuard("p", ("mine", "my_*"), lambda: sqlite3.connect(path))
    yield guard
    guard.close()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM mine",
        "INSERT INTO my_log VALUES (?)",
        "UPDATE mine SET a = :a WHERE b = :b",
        "WITH seen AS (SELECT a FROM mine) SELECT a FROM seen",
        "DELETE FROM mine WHERE a IN (SELECT value FROM json_each(?))",
        "SELECT t.value FROM mine, json_tree(mine.a) t",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 3) SELECT count(*) FROM n, mine",
    ],
)
def test_its_own_tables_and_json_are_open(guard: SqlGuard, sql: str) -> None:
    guard.check(sql)
    guard.check(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT seq FROM events",
        "/* events AS ( */ SELECT seq FROM events",
        "SELECT * FROM my_view",
        "INSERT INTO mine SELECT seq, seq FROM events",
        "DELETE FROM events",
        "SELECT name FROM sqlite_master",
        "ATTACH '/tmp/x' AS x",
        "PRAGMA journal_mode = DELETE",
        "CREATE TABLE my_new (a)",
        "DROP TABLE mine",
        "COMMIT",
    ],
)
def test_everything_else_is_refused(guard: SqlGuard, sql: str) -> None:
    with pytest.raises(ForbiddenError, match="may not") as refused:
        guard.check(sql)
    assert refused.value.code == "not_its_table"


def test_a_wrong_statement_is_its_own_error(guard: SqlGuard) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        guard.check("SELECT absent FROM mine")


def test_two_statements_in_one_are_refused(guard: SqlGuard) -> None:
    with pytest.raises((sqlite3.Warning, sqlite3.ProgrammingError)):
        guard.check("SELECT a FROM mine; DELETE FROM events")
