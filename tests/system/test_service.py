"""Start, reload, watchdog and stop, seen from where a service manager stands."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from tests.system.conftest import Manager

pytestmark = pytest.mark.e2e

CAMERA = {"id": "gate", "name": "Gate"}


def test_ready_comes_when_requests_are_answered_and_stopping_before_the_end(manager: Manager) -> None:
    manager.start()
    assert manager.wait_for("READY")["STATUS"].startswith("listening on http://127.0.0.1:")
    assert manager.call("GET", "/healthz") == (200, {"status": "ok"})
    assert manager.process is not None
    began = time.monotonic()
    manager.process.terminate()
    manager.wait_for("STOPPING")
    assert manager.process.wait(30) == 0
    assert time.monotonic() - began < 10
    with sqlite3.connect(manager.data_dir / "heldard.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    connection.close()
    assert not (manager.data_dir / "heldard.db-wal").exists(), "the database was closed in order"


def test_a_daemon_that_stands_still_is_aborted_and_started_again_with_its_data(
    make_manager: Callable[..., Manager],
) -> None:
    manager = make_manager(watchdog_s=1.5)
    manager.start()
    manager.wait_for("READY")
    assert manager.call("POST", "/api/v1/cameras", CAMERA)[0] == 201
    assert manager.call("POST", "/api/v1/ai/events", {"camera_id": "gate", "task_type": "t", "frame_id": "f"})[0] == 200
    for _ in range(4):
        manager.wait_for("WATCHDOG", 1.5)
    assert manager.process is not None
    first = manager.process
    first.send_signal(signal.SIGSTOP)
    manager.watch()
    assert first.returncode == -signal.SIGABRT
    manager.wait_for("READY")
    again = manager.call("POST", "/api/v1/ai/events", {"camera_id": "gate", "task_type": "t", "frame_id": "f"})
    assert again[1]["duplicate"] is True, "what was acknowledged is kept"


def test_reload_changes_what_it_can_and_says_what_waits_for_a_restart(manager: Manager) -> None:
    manager.start()
    manager.wait_for("READY")
    assert manager.process is not None
    manager.config.write_text("[retention]\ndetections_hours = 2\n[store]\nqueue_limit = 99\n")
    manager.process.send_signal(signal.SIGHUP)
    manager.wait_for("RELOADING")
    manager.wait_for("READY")
    lines = {line["event"]: line for line in manager.log()}
    assert lines["settings_reloaded"]["changed"] == ["retention.detections_hours"]
    assert lines["settings_need_restart"]["settings"] == ["store.queue_limit"]


def test_a_wrong_file_is_refused_whole_and_the_daemon_runs_on(manager: Manager) -> None:
    manager.start()
    manager.wait_for("READY")
    assert manager.process is not None
    manager.config.write_text("[retention]\ndetections_hours = 2\nevents_day = 1\n")
    manager.process.send_signal(signal.SIGHUP)
    manager.wait_for("RELOADING")
    manager.wait_for("READY")
    lines = {line["event"]: line for line in manager.log()}
    assert "did you mean retention.events_days?" in lines["settings_refused"]["reason"]
    assert "settings_reloaded" not in lines
    assert manager.call("GET", "/healthz")[0] == 200


def test_a_stop_in_the_middle_of_the_start_is_a_clean_one(manager: Manager) -> None:
    """What the start has queued is still being written when the stop begins."""
    for _ in range(8):
        manager.start()
        manager.wait_for("READY")
        assert manager.process is not None
        manager.process.terminate()
        assert manager.process.wait(30) == 0


def test_a_second_signal_ends_it_at_once(manager: Manager) -> None:
    manager.start()
    manager.wait_for("READY")
    assert manager.process is not None
    address = urlsplit(manager.url)
    with socket.create_connection((address.hostname, address.port)) as slow:
        slow.sendall(b"POST /api/v1/ai/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                     b"Content-Length: 100\r\n\r\n{")  # fmt: skip
        time.sleep(0.2)
        manager.process.terminate()
        manager.wait_for("STOPPING")
        manager.process.terminate()
        assert manager.process.wait(30) == 128 + signal.SIGTERM
    assert any(line["event"] == "stopping_now" for line in manager.log())


def test_a_second_daemon_on_the_same_data_is_refused_with_the_first_ones_pid(manager: Manager) -> None:
    manager.start()
    manager.wait_for("READY")
    assert manager.process is not None
    second = subprocess.run(
        [sys.executable, "-m", "heldard", "serve", "--port", "0", "--data-dir", str(manager.data_dir)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert second.returncode == 2
    assert f"in use by another heldard (process {manager.process.pid} serve)" in second.stderr


def test_a_lock_left_by_a_killed_daemon_holds_nobody_up(manager: Manager) -> None:
    for _ in range(2):
        manager.start()
        manager.wait_for("READY")
        assert manager.process is not None
        manager.process.kill()
        manager.process.wait()
