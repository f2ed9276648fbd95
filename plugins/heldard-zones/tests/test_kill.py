"""A real daemon, a real kill -9 in the middle of a visit."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e


class Daemon:
    def __init__(self, data_dir: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.data_dir = data_dir
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "heldard", "serve", "--data-dir", str(self.data_dir), "--port", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=1).close()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise AssertionError("the daemon did not come up")

    def end(self, sign: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, sign)
        self.process.wait(20)

    def call(self, method: str, path: str, body: object = None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/v1{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def see(self, track: str, x: float) -> None:
        found = {"label": "person", "confidence": 0.9, "bbox": [x, 0.2, 0.1, 0.3], "track_id": track}
        self.call(
            "POST", "/ai/events", {"camera_id": "gate", "task_type": "detection", "detections": [found], "epoch": "e"}
        )


@pytest.fixture
def daemon(tmp_path):
    made = Daemon(tmp_path / "data")
    made.start()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.end(signal.SIGTERM)


def test_kill_9_in_the_middle_of_a_visit_leaves_one_enter_one_exit_and_the_right_dwell(daemon):
    daemon.call("POST", "/cameras", {"name": "gate"})
    half = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
    daemon.call("POST", "/cameras/gate/zones", {"name": "yard", "polygon": half, "config": {"gap_seconds": 60}})
    for _ in range(4):
        daemon.see("7", 0.2)
        time.sleep(0.2)
    daemon.end(signal.SIGKILL)
    daemon.start()
    daemon.see("7", 0.2)
    for _ in range(8):
        daemon.see("7", 0.8)
        time.sleep(0.2)
    exits, enters = daemon.call("GET", "/cameras/gate/zone-events")
    assert (enters["event_type"], exits["event_type"], exits["reason"]) == ("enter", "exit", "left")
    assert enters["visit"] == exits["visit"]
    assert exits["dwell_seconds"] > 1
    assert daemon.call("GET", "/cameras/gate/zones/occupancy")["zones"][0]["count"] == 0
