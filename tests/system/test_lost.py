"""A database that is emptied, removed or spoilt under the daemon: said, kept, and never covered up by a start."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.system.conftest import Manager

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

BATCH = {"camera_id": "gate", "task_type": "t", "detections": []}


def _wait(what: Callable[[], Any], timeout_s: float = 60.0) -> None:
    until = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < until
        time.sleep(0.2)


def _heldard(manager: Manager, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "heldard", *arguments, "--data-dir", str(manager.data_dir)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def _stop(manager: Manager) -> None:
    assert manager.process is not None
    manager.process.terminate()
    manager.process.wait(30)


def _refuses_to_start(manager: Manager) -> str:
    """What it says."""
    manager.start()
    assert manager.process is not None
    assert manager.process.wait(30) == 2
    return (manager.folder / f"log-{manager.starts}").read_text()


@pytest.fixture
def running(manager: Manager) -> Manager:
    manager.start()
    manager.wait_for("READY")
    assert manager.call("POST", "/api/v1/cameras", {"id": "gate", "name": "Gate"})[0] == 201
    assert manager.call("POST", "/api/v1/ai/events", BATCH)[0] == 200
    return manager


@pytest.fixture
def database(running: Manager) -> Path:
    return running.data_dir / "heldard.db"


def test_an_emptied_database_is_said_once_kept_over_a_restart_and_cured_by_a_backup(
    running: Manager, database: Path, tmp_path: Path
) -> None:
    made = _heldard(running, "backup", "--into", str(tmp_path / "backups"))
    assert made.returncode == 0, made.stderr
    os.truncate(database, 0)
    for _ in range(3):
        status, body = running.call("POST", "/api/v1/ai/events", BATCH)
        assert (status, body["code"]) == (503, "store_replaced")
        assert "emptied while it was open; stop heldard and restore a backup" in body["error"]
    assert running.call("GET", "/readyz")[0] == 503
    assert running.call("GET", "/healthz")[0] == 200
    assert running.call("GET", "/api/v1/system")[0] in (200, 503)
    assert [line["event"] for line in running.log()].count("database_lost") == 1
    doctor = _heldard(running, "doctor", "--offline")
    assert doctor.returncode == 1
    assert "restore a backup with `heldard restore --replace`" in doctor.stdout

    _stop(running)
    for _ in range(2):
        assert "restore a backup with `heldard restore --replace`" in _refuses_to_start(running)
    restored = _heldard(running, "restore", "--replace", made.stdout.strip().splitlines()[-1])
    assert restored.returncode == 0, restored.stderr
    running.start()
    running.wait_for("READY")
    assert running.call("GET", "/api/v1/cameras")[1][0]["id"] == "gate"


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_a_removed_database_is_not_replaced_by_an_empty_one_at_the_next_start(
    running: Manager, database: Path, end: str
) -> None:
    aside = database.with_name("aside.db")
    database.rename(aside)
    _wait(lambda: running.call("GET", "/api/v1/system")[1]["store_problem"])  # seen without a write
    assert running.call("POST", "/api/v1/ai/events", BATCH)[0] == 503
    assert running.process is not None
    getattr(running.process, end)()
    running.process.wait(30)
    assert "was removed while it was open" in _refuses_to_start(running)
    assert not database.exists()

    aside.rename(database)
    running.start()
    running.wait_for("READY")
    assert running.call("GET", "/api/v1/cameras")[1][0]["id"] == "gate"
    assert not database.with_name("heldard.db.lost").exists()


def test_a_log_without_its_database_is_not_thrown_away(running: Manager, database: Path) -> None:
    assert running.process is not None
    running.process.kill()
    running.process.wait(30)
    database.unlink()
    wal = database.with_name("heldard.db-wal")
    before = wal.read_bytes()
    assert before
    assert f"its log {wal} holds data" in _refuses_to_start(running)
    assert _heldard(running, "doctor", "--offline").returncode == 1
    assert _heldard(running, "users", "list").returncode == 2
    assert wal.read_bytes() == before


def test_a_database_overwritten_in_place_is_found_by_the_watch(running: Manager, database: Path) -> None:
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # or the log would still have the first page
    with database.open("r+b") as file:
        file.write(b"\0" * 4096)
    _wait(lambda: running.call("GET", "/readyz")[0] == 503)
    _wait(lambda: any(line["event"] == "database_spoilt" for line in running.log()))
    assert running.process is not None
    running.process.kill()
    running.process.wait(30)
    assert "cannot be used" in _refuses_to_start(running)


def test_a_plugin_whose_tables_were_dropped_is_held_with_the_cause(running: Manager, database: Path) -> None:
    with closing(sqlite3.connect(database, timeout=30, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DROP TABLE zone_events")

    def held() -> bool:
        plugin = running.call("GET", "/api/v1/plugins/zones")[1]
        return bool(plugin["consumers"][0]["state"] == "quarantined" and "zone_events" in plugin["problem"])

    _wait(held)
    assert running.call("POST", "/api/v1/ai/events", BATCH)[0] == 200, "ingest does not need the plugin"
    told = next(line for line in running.log() if line["event"] == "plugin_tables_lost")
    assert told["tables"] == ["zone_events"]
    assert running.call("GET", "/api/v1/plugins/anpr")[1]["problem"] is None
