"""A start forgets the words nothing refers to, where there are many, and no other."""

from __future__ import annotations

import re

from heldard.db import migrations
from heldard.db.names import _FORGET, Names
from tests.retention.conftest import CAMERA, Box


async def test_unused_words_go_at_a_start_with_many_and_used_ones_keep_their_number(box: Box) -> None:
    await box.batch()
    await box.event()
    await box.names.intern([f"plate-{n}" for n in range(50)])
    before = {text: box.names.id(text) for text in (CAMERA, "person", "detection", "retention_shed")}
    patient = Names(box.db)
    await patient.load()
    assert patient.id("plate-1") is not None, "few words: nothing is forgotten"
    fresh = Names(box.db)
    await fresh.load(crowded=50)
    assert fresh.id("plate-1") is None
    assert {text: fresh.id(text) for text in before} == before
    await fresh.intern(["plate-1"])
    assert fresh.text(fresh.id("plate-1") or 0) == "plate-1"


def test_every_column_that_holds_a_words_number_is_looked_at() -> None:
    """A new table that refers to names must be added, or its words would be forgotten."""
    looked_at = set(re.findall(r"SELECT (\w+) FROM (\w+)", _FORGET))
    found: set[tuple[str, str]] = set()
    for migration in migrations.find("heldard.db"):
        for table, body in re.findall(r"CREATE TABLE (\w+) \((.*?)\n\)", migration.sql, re.DOTALL):
            for column in re.findall(r"^\s+(camera|task_type|label|event_type) INTEGER", body, re.MULTILINE):
                found.add((column, table))
            for column in re.findall(r"^\s+(\w+) INTEGER[^,\n]*REFERENCES names", body, re.MULTILINE):
                found.add((column, table))
    assert len(found) >= 9
    assert found == looked_at
