"""Fifteen real minutes: decoders, a worker and a viewer at work, and nothing grows.

`HELDARD_SOAK_S` sets another length; the figures are printed (`pytest -s`) and written beside the daemon's log.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.conftest import Manager

pytestmark = [pytest.mark.e2e, pytest.mark.long]

SOAK_S = float(os.environ.get("HELDARD_SOAK_S", "900"))
EVERY_S = min(15.0, SOAK_S / 20)
STREAMS = 3
GROWTH = 1.10
"""How far memory may rise from the second third of the run to the last: allocators breathe, leaks do not stop."""
SLACK_BYTES = 4 * 1024 * 1024
SLACK_FILES = 6


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Twenty seconds in which something always moves."""
    path = tmp_path / "media/clip.mp4"
    path.parent.mkdir()
    subprocess.run(
        ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=15:duration=20",
         "-c:v", "libx264", "-g", "15", "-pix_fmt", "yuv420p", str(path)], check=True,
    )  # fmt: skip
    return path


def _key(manager: Manager, *options: str) -> str:
    made = subprocess.run(
        [sys.executable, "-m", "heldard", "keys", "add", *options, "--data-dir", str(manager.data_dir)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    found = re.search(r"vok_\w+", made.stdout)
    assert found is not None
    return found[0]


@contextmanager
def worker(manager: Manager, key: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {"HELDARD_WORKER_API": manager.url, "HELDARD_WORKER_API_KEY": key}
    with (manager.folder / "worker-log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "heldard", "worker", "--task-types", "detection"], env=environment, stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


class Viewer:
    """Somebody who watches one camera's pictures and asks how it is, as its scoped key allows."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._headers = {"X-API-Key": key}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._watch), threading.Thread(target=self._ask)]
        self.bytes = self.answers = 0
        self.errors: list[str] = []

    def __enter__(self) -> Viewer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                with self._open("/api/v1/cameras/cam0/stream") as stream:
                    while not self._stop.is_set() and (piece := stream.read(16_384)):
                        self.bytes += len(piece)
            except OSError as error:
                self.errors.append(f"stream: {error}")
                self._stop.wait(2)

    def _ask(self) -> None:
        while not self._stop.wait(2):
            for path in ("/api/v1/cameras", "/api/v1/cameras/cam0/frame"):
                try:
                    with self._open(path) as answer:
                        answer.read()
                    self.answers += 1
                except OSError as error:
                    self.errors.append(f"{path}: {error}")

    def _open(self, path: str):  # type: ignore[no-untyped-def]
        return urllib.request.urlopen(urllib.request.Request(self._url + path, headers=self._headers), timeout=15)


def _scrape(manager: Manager) -> dict[str, float]:
    request = urllib.request.Request(manager.url + "/metrics", headers=manager.headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def _children(pid: int) -> int:
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def _set_up(manager: Manager, video: Path) -> tuple[str, str]:
    """A daemon with auth on and three streams; the keys of a worker and of a viewer of one camera."""
    manager.config.write_text(f"[auth]\nenabled = true\n[sampler]\nmedia_dir = '{video.parent}'\n")
    manager.start()
    manager.wait_for("READY")
    manager.headers["X-API-Key"] = _key(manager, "admin", "--role", "admin", "--confirm-privileged")
    manager.wait_until_answered("GET", "/api/v1/cameras")
    for n in range(STREAMS):
        camera = {"id": f"cam{n}", "name": f"Camera {n}", "sub_stream_url": f"file:{video.name}"}
        assert manager.call("POST", "/api/v1/cameras", camera)[0] == 201
        task = {"task_type": "detection", "fps": 2, "width": 640}
        assert manager.call("POST", f"/api/v1/cameras/cam{n}/ai-tasks", task)[0] == 201
    worker_key = _key(manager, "worker", "--can", "ai:tasks", "--can", "ai:frames", "--can", "ai:ingest")
    viewer_key = _key(manager, "viewer", "--can", "ai:frames", "--can", "camera:read", "--camera", "cam0")
    return worker_key, viewer_key


def test_fifteen_minutes_of_work_leave_memory_and_descriptors_flat(
    make_manager: Callable[..., Manager], video: Path
) -> None:
    pytest.importorskip("cv2", reason="the reference worker needs the extra `worker`")
    manager = make_manager(watchdog_s=30.0)
    worker_key, viewer_key = _set_up(manager, video)
    assert manager.process is not None
    samples: list[dict[str, float]] = []
    with worker(manager, worker_key) as working, Viewer(manager.url, viewer_key) as viewer:
        time.sleep(8)
        viewer.errors.clear()  # keys are noticed, and streams give their first frame, within seconds
        until = time.monotonic() + SOAK_S
        while time.monotonic() < until:
            time.sleep(EVERY_S)
            samples.append(_scrape(manager) | {"children": _children(manager.process.pid)})
            assert working.poll() is None
        errors = list(viewer.errors)
    began = time.monotonic()
    manager.process.terminate()
    assert manager.process.wait(15) == 0
    stop_s = time.monotonic() - began
    _judge(manager, samples, errors, viewer, stop_s)


def _judge(manager: Manager, samples: list[dict[str, float]], errors: list[str], viewer: Viewer, stop_s: float) -> None:
    third = len(samples) // 3
    middle, last = samples[third : 2 * third], samples[2 * third :]

    def most(part: list[dict[str, float]], name: str) -> float:
        return max(sample[name] for sample in part)

    final = samples[-1]
    figures = {
        "seconds": SOAK_S,
        "rss_mb": [round(most(part, "heldard_resident_bytes") / 1e6, 1) for part in (samples[:third], middle, last)],
        "open_files": [most(part, "heldard_open_files") for part in (samples[:third], middle, last)],
        "children": [most(part, "children") for part in (samples[:third], middle, last)],
        "cpu_seconds": round(final["heldard_cpu_seconds_total"], 1),
        "batches": final["heldard_ingest_batches_total"],
        "detections": final["heldard_ingest_detections_total"],
        "ingest_to_commit_mean_ms": round(
            1000 * final["heldard_ingest_to_commit_seconds_sum"] / final["heldard_ingest_to_commit_seconds_count"], 2
        ),
        "capture_to_ingest_mean_ms": round(
            1000 * final["heldard_capture_to_ingest_seconds_sum"] / final["heldard_capture_to_ingest_seconds_count"], 1
        ),
        "viewer_mb": round(viewer.bytes / 1e6, 1),
        "viewer_answers": viewer.answers,
        "database_mb": round(final["heldard_database_bytes"] / 1e6, 2),
        "stop_s": round(stop_s, 2),
    }
    print(json.dumps(figures))
    (manager.folder / "soak.json").write_text(json.dumps({"figures": figures, "samples": samples}))
    answered = {name: count for name, count in final.items() if re.search(r'http_requests_total.*status="5', name)}
    assert answered == {}
    assert errors == []
    assert [line for line in manager.log() if line["level"] in ("error", "critical")] == []
    assert {name: count for name, count in final.items() if "service_restarts_total" in name and count} == {}
    assert viewer.bytes > 0
    assert viewer.answers > 0
    assert final["heldard_ingest_batches_total"] > SOAK_S * STREAMS * 0.5
    assert most(last, "heldard_resident_bytes") <= most(middle, "heldard_resident_bytes") * GROWTH + SLACK_BYTES
    assert most(last, "heldard_open_files") <= most(middle, "heldard_open_files") + SLACK_FILES
    assert most(last, "children") <= most(middle, "children") + 1
