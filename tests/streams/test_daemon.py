"""The real daemon on real streams."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from heldard.demo.runner import free_port
from tests.streams.rig import CLOCK, PASSWORD, USER, RtspServer, encode_clip

pytestmark = pytest.mark.e2e


@pytest.fixture
def media(tmp_path: Path) -> Path:
    encode_clip(tmp_path / "clip.mp4", seconds=2)
    return tmp_path


class Daemon:
    """A real `heldard serve` with real decoders."""

    def __init__(self, folder: Path, engine: str) -> None:
        self.port = free_port(0)
        environment = {**os.environ, "HELDARD_SAMPLER__MEDIA_DIR": str(folder), "HELDARD_SAMPLER__ENGINE": engine}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "heldard", "serve", "--port", str(self.port), "--data-dir", str(folder / "data")],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def call(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", method=method, headers={"content-type": "application/json"},
            data=None if body is None else json.dumps(body).encode(),
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def get(self, path: str) -> tuple[bytes, Message]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return answer.read(), answer.headers

    def pids(self) -> list[int]:
        return [one["pid"] for one in self.call("GET", "/api/v1/ai/samplers") if one["state"] == "sampling"]


@pytest.fixture(params=["pyav", "ffmpeg"])
def daemon(media: Path, request: pytest.FixtureRequest) -> Iterator[Daemon]:
    started = Daemon(media, request.param)
    yield started
    started.process.kill()
    started.process.wait()


async def until(condition: Any, within_s: float) -> Any:
    deadline = CLOCK.monotonic() + within_s
    while True:
        try:
            if found := condition():
                return found
        except OSError:
            """Not listening yet."""
        assert CLOCK.monotonic() < deadline, f"not within {within_s} s"
        await CLOCK.sleep(0.05)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


async def test_x10_a_killed_daemon_leaves_no_decoder_behind_within_two_seconds(daemon: Daemon) -> None:
    await until(lambda: daemon.call("GET", "/healthz"), 30)
    for number in range(3):
        camera = {"name": f"cam {number}", "sub_stream_url": "file:clip.mp4", "address": "127.0.0.1"}
        made = daemon.call("POST", "/api/v1/cameras", camera)
        daemon.call("POST", f"/api/v1/cameras/{made['id']}/ai-tasks", {"task_type": "detection", "fps": 2})
    pids = await until(lambda: pids if len(pids := daemon.pids()) == 3 else None, 30)
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()
    await until(lambda: all(map(is_gone, pids)), 2)


async def test_a_password_protected_rtsp_camera_is_sampled_and_its_password_never_shown(
    daemon: Daemon, rtsp: Callable[..., RtspServer]
) -> None:
    server = rtsp(auth="digest")
    await until(lambda: daemon.call("GET", "/healthz"), 30)
    camera = {"name": "gate", "sub_stream_url": server.url("h264?w=320&h=240", USER, PASSWORD), "address": "127.0.0.1"}
    made = daemon.call("POST", "/api/v1/cameras", camera)
    daemon.call("POST", f"/api/v1/cameras/{made['id']}/ai-tasks", {"task_type": "detection", "fps": 5})
    await until(daemon.pids, 30)
    picture, headers = daemon.get(f"/api/v1/cameras/{made['id']}/frame?wait=5")
    assert picture[:2] == b"\xff\xd8"
    assert int(headers["x-frame-age-ms"]) < 5000
    shown = [daemon.call("GET", path) for path in ("/api/v1/cameras", "/api/v1/ai/samplers", "/api/v1/events")]
    assert PASSWORD.partition(":")[0] not in json.dumps(shown)
