"""Every named statement is accepted by the migrated schema, and the hot ones use the index they were made for."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from heldard.clock import SystemClock
from heldard.db import migrations, queries
from heldard.db.database import Database

PACKAGES = ("cameras", "tasks", "ingest", "fanout", "events")
STATEMENTS = [(package, name) for package in PACKAGES for name in queries.load(f"heldard.{package}")]


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    connection = Database(tmp_path_factory.mktemp("db") / "heldard.db", SystemClock()).connect()
    migrations.apply(connection, "heldard", migrations.find("heldard.db"), 0)
    yield connection
    connection.close()


def plan(schema: sqlite3.Connection, sql: str) -> str:
    """SQLite's plan of a statement, one step a line."""
    try:
        return "\n".join(row[3] for row in schema.execute(f"EXPLAIN QUERY PLAN {sql}"))
    except sqlite3.ProgrammingError:  # positional parameters
        return "\n".join(row[3] for row in schema.execute(f"EXPLAIN QUERY PLAN {sql}", (None,) * sql.count("?")))


@pytest.mark.parametrize(("package", "name"), STATEMENTS)
def test_every_statement_is_accepted(schema: sqlite3.Connection, package: str, name: str) -> None:
    sql = queries.load(f"heldard.{package}")[name]
    try:
        schema.execute(f"EXPLAIN {sql}").close()
    except sqlite3.ProgrammingError as error:
        accepted = "binding" in str(error)  # only the values are missing
        assert accepted, error  # noqa: PT017 - a statement without parameters raises nothing


@pytest.mark.parametrize(
    ("package", "name", "index"),
    [
        ("fanout", "unfinished_page", "outbox_unfinished"),
        ("fanout", "unclaimed_page", "outbox_unfinished"),
        ("fanout", "unfinished_cameras", "outbox_unfinished"),
        ("fanout", "newest_times", "outbox_camera_at"),
        ("fanout", "lag", "outbox_unfinished"),
        ("fanout", "odd_claims", "consumer_fanout_odd"),
        ("fanout", "parked_seqs", "consumer_fanout_odd"),
        ("fanout", "count_parked", "consumer_fanout_odd"),
        ("fanout", "interrupt_claims", "consumer_fanout_odd"),
        ("fanout", "waiting_actions", "actions_open"),
        ("fanout", "expire_actions", "actions_open"),
        ("fanout", "finish_camera", "outbox_unfinished"),
        ("ingest", "batch_of_frame", "outbox_frame"),
        ("ingest", "batches_at", "outbox_camera_at"),
        ("ingest", "newest_detections", "outbox_camera"),
    ],
)
def test_what_runs_often_uses_its_index(schema: sqlite3.Connection, package: str, name: str, index: str) -> None:
    sql = queries.load(f"heldard.{package}")[name]
    steps = plan(schema, _with_nulls(sql))
    assert index in steps, steps
    assert "SCAN o" not in steps.splitlines(), steps


def _with_nulls(sql: str) -> str:
    import re

    return re.sub(r":(\w+)", "1", sql).replace("json_each(1)", "json_each('[1]')")


def test_two_queries_of_one_name_and_one_without_a_purpose_are_refused() -> None:
    with pytest.raises(ValueError, match="two queries"):
        queries.parse("-- name: a\n-- Why.\nSELECT 1;\n-- name: a\n-- Why.\nSELECT 2;\n")
    with pytest.raises(ValueError, match="purpose"):
        queries.parse("-- name: a\nSELECT 1;\n")


def test_the_path_of_the_package_is_not_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "insert_batch" in queries.load("heldard.ingest")
