"""The statements against the schema the migrations make."""

from __future__ import annotations

import sqlite3
from importlib.resources import files

import pytest
from heldard_zones.store import SQL


@pytest.fixture
def database():
    connection = sqlite3.connect(":memory:")
    for path in sorted(files("heldard_zones").joinpath("migrations").iterdir(), key=lambda path: path.name):
        if path.name.endswith(".sql"):
            connection.executescript(path.read_text("utf-8"))
    yield connection
    connection.close()


def plan(database, name):
    wanted = SQL[name].count("?")
    numbered = 4 if "?4" in SQL[name] else wanted
    return " ".join(row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {SQL[name]}", (1,) * numbered))


@pytest.mark.parametrize("name", sorted(SQL))
def test_every_statement_fits_the_schema(database, name):
    plan(database, name)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("zones_of_camera", "sqlite_autoindex_zones"),
        ("events_of_zone", "zone_events_by_zone"),
        ("aggregates", "zone_events_by_camera"),
        ("counts_of_zone", "zone_events_by_zone"),
        ("occupancy_before", "zone_occupancy_log_by_zone"),
        ("occupancy_between", "zone_occupancy_log_by_zone"),
        ("occupancy_of_camera", "zone_occupancy_by_camera"),
        ("prune_events", "zone_events_by_time"),
        ("prune_occupancy_log", "zone_occupancy_log_by_time"),
    ],
)
def test_statements_over_large_tables_use_their_index(database, name, index):
    assert index in plan(database, name)


def test_zones_from_before_versions_are_known_as_they_were_when_upgraded():
    connection = sqlite3.connect(":memory:")
    folder = files("heldard_zones").joinpath("migrations")
    connection.executescript(folder.joinpath("0001_zones.sql").read_text("utf-8"))
    drawn = (1, "zone_a", "gate", "yard", "region", "[[0,0],[1,0],[1,1]]", 0.0, "[]", "info", "{}", 1, 1000, 5000)
    connection.execute(SQL["insert_zone"], drawn)
    connection.executescript(folder.joinpath("0002_versions.sql").read_text("utf-8"))
    ((at, name),) = connection.execute("SELECT from_ms, name FROM zone_versions WHERE until_ms IS NULL").fetchall()
    connection.close()
    assert (at, name) == (999, "yard"), "it covers the zone's first batch"
