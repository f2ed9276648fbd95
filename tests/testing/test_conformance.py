"""The conformance kit finds what is wrong: each plugin here is wrong in one way, and the named test fails for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

GOOD = '''
from heldard.plugin import Consumer, EventType, Migrations, PluginInfo, Query, hookimpl, route
import msgspec
from typing import Annotated
from aiohttp import web

class Settings(msgspec.Struct):
    size: Annotated[int, msgspec.Meta(description="How large.")] = 1

class Kit(Consumer):
    name = "kit"
    def __init__(self, ctx):
        self.ctx, self.seen = ctx, {}
    def restore(self, camera_id, state):
        self.seen[camera_id] = int(state.get("seen", b"0"))
    def consume(self, batch, effects):
        if batch.detections:
            self.seen[batch.camera_id] += 1
            effects.put_state("seen", str(self.seen[batch.camera_id]).encode())
            effects.event("kit_seen", payload={"n": self.seen[batch.camera_id]})
            effects.execute("INSERT INTO kit_rows (n) VALUES (?)", (self.seen[batch.camera_id],))

@hookimpl
def heldard_register_plugin():
    return PluginInfo("kit", "1.0", ">=1.0,<2")

@hookimpl
def heldard_register_settings():
    return Settings

@hookimpl
def heldard_register_migrations():
    return Migrations("kit_plugin")

@hookimpl
def heldard_register_event_types():
    return [EventType("kit_seen", "Seen.")]

@hookimpl
def heldard_register_consumers(ctx):
    return [Kit(ctx)]

@hookimpl
def heldard_register_routes(ctx):
    @route("GET", "/api/v1/cameras/{camera_id}/kit", capability="events:read", camera="camera_id")
    async def rows(request: web.Request, camera_id: str) -> list[int]:
        """Rows."""
        await ctx.camera(camera_id)
        return [row["n"] for row in await ctx.fetch("SELECT n FROM kit_rows")]
    return [rows]
'''

TEST = """
from heldard.testing import PluginConformance

class TestKit(PluginConformance):
    name = "kit"
    crash_points = 5
    linger_s = 3.0
"""

START = "CREATE TABLE kit_rows (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);"

WRONG = {
    "test_importing_it_has_no_side_effects": ("import msgspec\n", "import msgspec\nprint('hello')\n"),
    "test_it_imports_only_the_public_kernel": ("import msgspec\n", "import msgspec\nfrom heldard import ids\n"),
    "test_it_is_accepted": ('">=1.0,<2"', '">=7.0"'),
    "test_each_setting_has_a_default_and_a_description": ('description="How large."', 'description=""'),
    "test_wrong_settings_are_refused_by_name": ("size: Annotated[int,", "size: Annotated[object,"),
    "test_the_scene_leads_to_effects": ("if batch.detections:", "if False:"),
    "test_a_crash_between_any_two_writes_changes_nothing": (
        'effects.put_state("seen", str(self.seen[batch.camera_id]).encode())', "pass",
    ),
    "test_replay_gives_what_live_gave": ('payload={"n":', 'payload={"live": not batch.replayed, "n":'),
    "test_odd_batches_are_no_failures": ("if batch.detections:", "if [one.bbox[0] for one in batch.detections]:"),
    "test_every_route_needs_a_capability_and_says_what_it_does": ('capability="events:read"', "capability=None"),
    "test_every_route_refuses_who_does_not_say_who_they_are": ('capability="events:read"', "capability=None"),
    "test_no_route_answers_nonsense_with_a_server_error": ("await ctx.camera(camera_id)", "return [1 // 0]"),
    "test_a_deleted_camera_leaves_no_failure_behind": (
        "@hookimpl\ndef heldard_register_settings",
        "@hookimpl\ndef heldard_on_camera_deleted(camera_id):\n    1 / 0\n\n@hookimpl\ndef heldard_register_settings",
    ),
    "test_it_starts_stops_and_starts_again_cleanly": (
        "@hookimpl\ndef heldard_register_settings", "@hookimpl\ndef heldard_on_start(ctx):\n    1 / 0\n\n"
        "@hookimpl\ndef heldard_register_settings",
    ),
}  # fmt: skip


def make(place: Path, source: str, start: str = START, more: str | None = None, tests: str = TEST) -> None:
    package = place / "kit_plugin"
    (package / "migrations").mkdir(parents=True)
    (package / "__init__.py").write_text(source)
    (package / "migrations" / "0001_start.sql").write_text(start)
    if more is not None:
        (package / "migrations" / "0002_more.sql").write_text(more)
    (place / "test_kit.py").write_text(tests)
    info = place / "kit-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kit\nVersion: 1.0\nSummary: A kit.\n\nWhat it is.\n")
    (info / "entry_points.txt").write_text("[heldard]\nkit = kit_plugin\n")


def outcome(place: Path, test: str = "") -> tuple[int, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HELDARD_", "PYTEST_"))}
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-k", test)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_kit.py"],
        cwd=place, capture_output=True, text=True, check=False,
        env={**clean, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    return done.returncode, done.stdout


def test_a_plugin_with_nothing_wrong_passes(tmp_path: Path) -> None:
    make(tmp_path, GOOD, more="ALTER TABLE kit_rows ADD COLUMN said TEXT NOT NULL DEFAULT '';")
    code, said = outcome(tmp_path)
    assert code == 0, said


QUICK = ("import", "crash", "replay", "odd", "refuses")
"""A few that every run of the tests tries; the others are among the long ones."""


@pytest.mark.parametrize(
    "test",
    [pytest.param(test, marks=() if any(word in test for word in QUICK) else pytest.mark.long) for test in WRONG],
)
def test_what_is_wrong_fails_the_test_that_looks_at_it(test: str, tmp_path: Path) -> None:
    old, new = WRONG[test]
    assert old in GOOD
    make(tmp_path, GOOD.replace(old, new, 1))
    code, said = outcome(tmp_path, test)
    assert (code, "1 failed" in said) == (1, True), said


@pytest.mark.parametrize(
    ("test", "start", "more"),
    [
        ("test_its_migrations_make_only_its_own_tables", START + "CREATE TABLE others (n INTEGER);", None),
        ("from_each_older_state", START, "CREATE UNIQUE INDEX k ON kit_rows (n); INSERT INTO kit_rows VALUES (9, 0);"),
    ],
)  # fmt: skip
def test_wrong_migrations_fail_the_test_that_looks_at_them(
    test: str, start: str, more: str | None, tmp_path: Path
) -> None:
    make(tmp_path, GOOD, start, more)
    code, said = outcome(tmp_path, test)
    assert (code, "1 failed" in said) == (1, True), said
