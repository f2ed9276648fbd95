"""A database with data in it, made by an earlier version, is upgraded; a failing migration leaves it as it was."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer
from click.testing import CliRunner

from heldard import upgrade
from heldard.app import build
from heldard.cli import main
from heldard.clock import SystemClock
from heldard.config import settle
from heldard.db import migrations
from heldard.db.migrations import Migration
from heldard.errors import ConfigError

OLD = Path(__file__).parent / "data"
CLOCK = SystemClock()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A data directory as the first version left it: two cameras, a task, 12 batches, 48 detections, 12 events."""
    with closing(sqlite3.connect(tmp_path / "heldard.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.executescript((OLD / "database-0001.sql").read_text())
    shutil.copy(OLD / "database-0001.key", tmp_path / "secret.key")
    return tmp_path


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program whose newest migration cannot be applied, after others that can."""
    found = migrations.find("heldard.db")
    bad = Migration(len(found) + 1, "bad", "CREATE TABLE fresh (a); INSERT INTO nowhere VALUES (1);")
    real: Callable[..., list[Migration]] = migrations.find
    monkeypatch.setattr(
        migrations, "find", lambda package, *rest: [*found, bad] if package == "heldard.db" else real(package, *rest)
    )


async def test_an_earlier_versions_database_is_upgraded_with_all_its_data(old: Path) -> None:
    kept = upgrade.prepare(old, (), CLOCK)
    assert kept is not None
    assert kept.exists()
    assert upgrade.pending(old / "heldard.db", ()) == {}
    app = await build(settle({"store": {"data_dir": str(old)}, "sampler": {"enabled": False}}), found=())
    async with TestClient(TestServer(app)) as client:

        async def get(path: str) -> list[dict[str, object]]:
            async with client.get(path) as answer:
                assert answer.status == 200
                return await answer.json()  # type: ignore[no-any-return]

        cameras = await get("/api/v1/cameras")
        assert [(camera["id"], camera["has_password"]) for camera in cameras] == [("gate", True), ("yard", True)]
        assert len(await get("/api/v1/cameras/gate/detections")) == 32
        events = await get("/api/v1/events?limit=50&event_type=motion_seen")
        assert len(events) == 12
        async with client.post(
            "/api/v1/ai/events", json={"camera_id": "gate", "task_type": "detection", "frame_id": "f1"}
        ) as answer:
            assert (await answer.json())["duplicate"] is True
    assert not (old / upgrade.REHEARSAL).exists()


def test_a_database_that_is_up_to_date_is_left_alone(old: Path) -> None:
    upgrade.prepare(old, (), CLOCK)
    before = (old / "heldard.db").stat()
    assert upgrade.prepare(old, (), CLOCK) is None
    assert (old / "heldard.db").stat().st_ino == before.st_ino
    assert upgrade.prepare(old / "nowhere", (), CLOCK) is None


@pytest.mark.usefixtures("failing")
def test_a_failing_migration_leaves_the_database_as_it_was(old: Path) -> None:
    before = (old / "heldard.db").read_bytes()
    with pytest.raises(ConfigError, match=r"rehearsed on a copy and failed.*no such table: nowhere.*as it was"):
        upgrade.prepare(old, (), CLOCK)
    assert (old / "heldard.db").read_bytes() == before
    assert sorted(path.name for path in old.iterdir()) == ["heldard.db", "secret.key"]


def test_a_newer_database_is_refused(old: Path) -> None:
    with closing(sqlite3.connect(old / "heldard.db", isolation_level=None)) as connection:
        connection.execute("INSERT INTO migrations VALUES ('heldard', 9999, 'future', 'x', 0)")
    with pytest.raises(ConfigError, match="written by a newer heldard"):
        upgrade.prepare(old, (), CLOCK)


def test_an_upgrade_can_be_taken_back(old: Path) -> None:
    upgrade.prepare(old, (), CLOCK)
    result = CliRunner().invoke(main, ["upgrade", "--undo", "--data-dir", str(old)])
    assert result.exit_code == 0, result.output
    assert "heldard" in upgrade.pending(old / "heldard.db", ())
    assert (old / "heldard.db.undone-upgrade").exists()
    with pytest.raises(ConfigError, match="nothing was upgraded"):
        upgrade.undo(old)


def test_without_room_for_a_copy_the_upgrade_is_left_to_the_daemon(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heldard.upgrade.shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    assert upgrade.prepare(old, (), CLOCK) is None
    assert "heldard" in upgrade.pending(old / "heldard.db", ())


def test_the_former_database_is_removed_after_two_weeks(old: Path) -> None:
    kept = upgrade.prepare(old, (), CLOCK)
    assert kept is not None
    upgrade.prepare(old, (), CLOCK)
    assert kept.exists()
    os.utime(kept, (0, 0))
    upgrade.prepare(old, (), CLOCK)
    assert not kept.exists()


def test_check_says_what_would_happen_and_changes_nothing(old: Path) -> None:
    before = (old / "heldard.db").read_bytes()
    result = CliRunner().invoke(main, ["upgrade", "--check", "--data-dir", str(old)])
    assert result.exit_code == 0, result.output
    assert "ok    rehearsal: a copy was migrated and is sound" in result.output
    assert "heldard: 0002_" in result.output
    assert (old / "heldard.db").read_bytes() == before
    assert not (old / upgrade.REHEARSAL).exists()


@pytest.mark.usefixtures("failing")
def test_check_fails_where_the_upgrade_would(old: Path) -> None:
    result = CliRunner().invoke(main, ["upgrade", "--check", "--data-dir", str(old)])
    assert result.exit_code == 1
    assert "FAIL  rehearsal" in result.output
