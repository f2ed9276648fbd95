"""A disk that is really full: a small file system, filled to its last byte while batches flow."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.system.conftest import Manager

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

BOX = [0.1, 0.1, 0.2, 0.2]
BATCH = {"camera_id": "gate", "task_type": "t", "detections": [{"label": "car", "confidence": 0.9, "bbox": BOX}] * 50}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """The data directory on a file system of 24 MiB."""
    folder = tmp_path / "data"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a file system takes root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    """Until not another byte fits."""
    step = 1024 * 1024
    with path.open("ab", buffering=0) as file:
        while step:
            try:
                file.write(b"\0" * step)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                step //= 2


def test_a_full_disk_is_answered_507_and_all_goes_on_when_there_is_room(small: Path, manager: Manager) -> None:
    manager.start()
    manager.wait_for("READY", 60)
    assert manager.call("POST", "/api/v1/cameras", {"id": "gate", "name": "Gate"})[0] == 201
    acknowledged = 0
    for _ in range(20):
        assert manager.call("POST", "/api/v1/ai/events", BATCH)[0] == 200
        acknowledged += 1
    balloon = small / "balloon"
    fill(balloon)
    refused: dict[str, int] = {}
    for _ in range(200):
        fill(balloon)  # also what the daemon gave back meanwhile
        status, body = manager.call("POST", "/api/v1/ai/events", BATCH)
        assert status in (200, 507), body
        acknowledged += status == 200
        if status == 507:
            refused[body["code"]] = refused.get(body["code"], 0) + 1
    assert sum(refused.values()) > 0
    assert manager.call("GET", "/healthz")[0] == 200
    assert manager.call("GET", "/api/v1/cameras")[0] == 200

    os.unlink(balloon)
    until = time.monotonic() + 60
    while manager.call("POST", "/api/v1/ai/events", BATCH)[0] != 200:
        assert time.monotonic() < until
        time.sleep(0.5)
    acknowledged += 1
    assert manager.starts == 1, "without a restart"
    assert manager.process is not None
    manager.process.terminate()
    assert manager.process.wait(30) == 0
    with closing(sqlite3.connect(manager.data_dir / "heldard.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        stored, detections = connection.execute("SELECT count(*), sum(detection_count) FROM outbox").fetchone()
        assert (stored, detections) == (acknowledged, acknowledged * 50), "nothing half, nothing lost"
