"""Sixteen streams for as long as `HELDARD_SOAK_S` says (600 s): nothing leaks, and nothing outlives the daemon."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.streams.rig import CLOCK, children_of_this_process, encode_clip, free_port, running_sampler

STREAMS = 16
SOAK_S = float(os.environ.get("HELDARD_SOAK_S", "600"))


@pytest.fixture
def media(tmp_path: Path) -> Path:
    encode_clip(tmp_path / "clip.mp4", size="640x360", gop=30, seconds=8)
    return tmp_path


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def rss_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


@pytest.mark.long
@pytest.mark.timeout(SOAK_S + 300)
@pytest.mark.parametrize("engine", ["pyav", "ffmpeg"])
async def test_sixteen_streams_with_decoders_killed_and_edits_made_all_the_time_leak_nothing(
    media: Path, engine: str
) -> None:
    async with running_sampler(media, engine=engine, max_total_fps=200) as rig:
        names = [f"cam{number:02d}" for number in range(STREAMS)]
        for name in names:
            rig.want(name, "file:clip.mp4", fps=2, width=640)
        for name in names:
            await rig.sampling(name, within_s=60)
        await CLOCK.sleep(25)  # until the rings are full
        gc.collect()
        before = (descriptors(), rss_mb())
        ends = CLOCK.monotonic() + SOAK_S
        turn = 0
        while CLOCK.monotonic() < ends:
            victim, edited = names[turn % STREAMS], names[(turn * 5 + 3) % STREAMS]
            pid = rig.status(victim).pid
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
            rig.want(edited, "file:clip.mp4", fps=2 + turn % 2, width=640)
            turn += 1
            await CLOCK.sleep(3)
        for name in names:
            rig.want(name, "file:clip.mp4", fps=2, width=640)
            await rig.sampling(name, within_s=120)
        await CLOCK.sleep(25)
        gc.collect()
        after = (descriptors(), rss_mb())
        children = len(children_of_this_process())
        print(f"{engine}: {turn} kills; descriptors and MB before {before}, after {after}; children {children}")
        assert abs(after[0] - before[0]) <= 4
        assert after[1] <= before[1] + 15
        assert children <= STREAMS + 1
        assert all(rig.status(name).state == "sampling" for name in names)


class Daemon:
    """A real `heldard serve` with real decoders."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        environment = {**os.environ, "HELDARD_SAMPLER__MEDIA_DIR": str(folder)}
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

    def pids(self) -> list[int]:
        return [one["pid"] for one in self.call("GET", "/api/v1/ai/samplers") if one["state"] == "sampling"]


@pytest.fixture
def daemon(media: Path) -> Iterator[Daemon]:
    started = Daemon(media)
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


@pytest.mark.e2e
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
