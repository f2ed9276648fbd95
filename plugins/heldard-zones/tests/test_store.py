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
